// A private endpoint for each service that is created here: what is brought along has its own. The zones
// are created with the network; a landing zone brings its own, or its policies write the records.
// Telemetry is left out: Application Insights by private link needs an Azure Monitor Private Link Scope,
// which a company has once.

import { Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of the cloud, which the private zones follow.')
@allowed([
  'AzureCloud'
  'AzureUSGovernment'
  'AzureChinaCloud'
])
param cloud string

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Resource id of the virtual network that is created here, and gets zones. Empty: none is.')
param virtualNetworkResourceId string

@description('Resource id of the subnet of the endpoints.')
param subnetResourceId string

@description('Resource ids of zones, where no network is created.')
param privateDnsZoneResourceIds string[]

@description('Resource id of the Service Bus namespace. Empty: it is brought along.')
param serviceBusId string

@description('Resource id of the storage account.')
param storageId string

@description('Resource id of the Face account. Empty: it is brought along.')
param faceId string

// environment() has no suffix for Service Bus and Cognitive Services, and what-if could not tell the
// names of zones that are known only at run time.
var suffixes = {
  AzureCloud: {
    serviceBus: 'servicebus.windows.net'
    #disable-next-line no-hardcoded-env-urls // What-if needs to know the name of a zone beforehand.
    storage: 'core.windows.net'
    face: 'cognitiveservices.azure.com'
  }
  AzureUSGovernment: {
    serviceBus: 'servicebus.usgovcloudapi.net'
    storage: 'core.usgovcloudapi.net'
    face: 'cognitiveservices.azure.us'
  }
  AzureChinaCloud: {
    serviceBus: 'servicebus.chinacloudapi.cn'
    storage: 'core.chinacloudapi.cn'
    face: 'cognitiveservices.azure.cn'
  }
}

var targets = filter(
  [
    {
      name: 'service-bus'
      resourceId: serviceBusId
      groupId: 'namespace'
      zone: 'privatelink.${suffixes[cloud].serviceBus}'
    }
    {
      name: 'blob'
      resourceId: storageId
      groupId: 'blob'
      zone: 'privatelink.blob.${suffixes[cloud].storage}'
    }
    {
      name: 'table'
      resourceId: storageId
      groupId: 'table'
      zone: 'privatelink.table.${suffixes[cloud].storage}'
    }
    {
      name: 'face'
      resourceId: faceId
      groupId: 'account'
      zone: 'privatelink.${suffixes[cloud].face}'
    }
  ],
  target => !empty(target.resourceId)
)
var createZones = !empty(virtualNetworkResourceId)
// An empty id: a policy of the landing zone writes the record.
var zoneIds = [
  for target in targets: createZones
    ? resourceId('Microsoft.Network/privateDnsZones', target.zone)
    : first(filter(privateDnsZoneResourceIds, id => endsWith(toLower(id), '/${target.zone}'))) ?? ''
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for target in (createZones ? targets : []): {
    name: target.zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (target, index) in (createZones ? targets : []): {
    parent: zones[index]
    name: 'revoker-${token}'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: virtualNetworkResourceId
      }
    }
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for target in targets: {
    name: 'pe-revoker-${target.name}-${token}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: subnetResourceId
      }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: {
            #disable-next-line use-resource-id-functions // It is a parameter, by way of the list.
            privateLinkServiceId: target.resourceId
            groupIds: [
              target.groupId
            ]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (target, index) in targets: if (!empty(zoneIds[index])) {
    parent: endpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: target.name
          properties: {
            #disable-next-line use-resource-id-functions // It is a parameter, or the id of a zone above.
            privateDnsZoneId: zoneIds[index]
          }
        }
      ]
    }
    dependsOn: [
      zones
    ]
  }
]
