// Everything that Liveness Session Revoker needs in Azure, in one resource group:
//
//   az deployment group create -g <group> -f infra/main.bicep -p infra/main.bicepparam
//   azd up
//
// One identity does all the work; no key exists anywhere. See README.md beside this file.
targetScope = 'resourceGroup'

import { guids, Names, resourceIdOf, resourceIdsOf, Tags, Tuning } from 'modules/shared.bicep'

@description('Name of this deployment, such as dev or prod. It becomes part of the unique name token and a tag.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Azure region of everything created here. It must offer Flex Consumption with Python 3.13 and, if a Face account is created, liveness detection.')
@minLength(1)
param location string = resourceGroup().location

@description('Tags put on every resource, besides the ones this file sets.')
param tags Tags = {}

@description('Names for resources. What is not named gets a name from a unique token.')
param names Names = {}

@description('Resource id of an existing Face account, in any subscription of the tenant. Empty: create one here. It gets the custom role, an assignment of it, and a diagnostic setting.')
param faceAccountId string = ''

@description('Resource id of an existing Service Bus namespace, in any subscription of the tenant. Empty: create one here. It gets the queues and role assignments on them.')
param serviceBusNamespaceId string = ''

@description('Name of the queue. Deployments that share a namespace need different ones.')
@minLength(1)
@maxLength(250)
param queueName string = 'session-revoked'

@description('Resource id of an existing user-assigned identity. Empty: create one here.')
param userAssignedIdentityId string = ''

@description('Resource id of an existing Log Analytics workspace. Empty: create one here.')
param logAnalyticsWorkspaceId string = ''

@description('Resource id of an existing subnet for the function\'s outgoing traffic, delegated to Microsoft.App/environments. With privateEndpointSubnetId only; both switch private networking on.')
param integrationSubnetId string = ''

@description('Resource id of an existing subnet for private endpoints. With integrationSubnetId only.')
param privateEndpointSubnetId string = ''

@description('Resource ids of existing private DNS zones for the endpoints in that subnet. A zone that is not given: policies of the landing zone write its record.')
@maxLength(10)
param privateDnsZoneIds string[] = []

@description('Version of the Face API. It must be one that sees the sessions: see the README.')
@allowed([
  'v1.1-preview.1'
  'v1.2-preview.1'
  'v1.2'
  'v1.3-preview.1'
])
param faceApiVersion string

@description('Calls per second that the Face account allows. Not given: what the account itself says (its callRateLimit), else 10, the default of tier S0. The function calls at most 80 % of it (FACE_MAX_CALLS_PER_SECOND); the workbook draws it as a line.')
@minValue(1)
@maxValue(1000)
param faceCallsPerSecondQuota int?

@description('Settings of the function that differ from its defaults, by name, as text.')
param settings Tuning = {}

@description('Memory of one instance in MB. The Functions host and the Python worker share it.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

// One instance can use 80 % of the Face quota alone. The platform does not always keep to this number
// (azure-functions-host issue 11790), so a second instance may appear: each slows down on a 429.
// Some regions accept no less than 40 (azure-docs pull request 128255); preflight asks the region.
@description('Maximum number of instances. From 2 to 39, these and the always-ready instances share 80 % of the Face quota equally. From 40, the minimum of some regions, each may use it.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 1

// To start an app that was scaled in, the platform looks at the first eleven messages of the queue with
// the right to receive only. If these are scheduled retries, it may not see the new ones behind them.
@description('Instances that run and listen all the time. With 0, revocations wait until the platform notices them, at times for as long as the retries before them do.')
@minValue(0)
@maxValue(1000)
param alwaysReadyInstances int = 1

@description('Tier of the Service Bus namespace. Private networking needs, and therefore selects, Premium.')
@allowed([
  'Standard'
  'Premium'
])
param serviceBusTier string = 'Standard'

@description('Messaging units of a Premium namespace. Not used with Standard.')
@allowed([
  1
  2
  4
  8
  16
])
param serviceBusCapacity int = 1

@description('Object ids of the users, groups or service principals that may publish session-revoked messages.')
@maxLength(50)
param publisherPrincipalIds string[] = []

@description('Object ids of the users, groups or service principals that may read receipts, the outcome of each revocation. If there are any, a queue is made for receipts, and the function sends them.')
@maxLength(50)
param receiptReaderPrincipalIds string[] = []

@description('Object ids of groups that operate the service: receive from and send to the queues, delete sessions, read the logs.')
@maxLength(50)
param operatorPrincipalIds string[] = []

@description('Object ids of groups that audit the service: read the logs.')
@maxLength(50)
param auditorPrincipalIds string[] = []

@description('Object ids of users and groups that may upload the record of what they did to the workspace. If there are any, a table and a data collection rule are made for it.')
@maxLength(50)
param recordWriterPrincipalIds string[] = []

@description('Address that alerts are mailed to. Empty: none.')
@maxLength(254)
param alertEmail string = ''

@description('Resource ids of existing action groups that alerts go to, such as the one that pages the engineer on call.')
@maxLength(5)
param actionGroupIds string[] = []

@description('Alert when more messages than this wait in the queue. The default is what 8 calls a second work off in about two minutes.')
@minValue(1)
param activeMessagesThreshold int = 1000

@description('Alert when a revocation took longer than this from its first enqueueing until the session was gone, in seconds, at the 95th percentile of 15 minutes.')
@minValue(1)
param revocationLatencyThresholdSeconds int = 300

@description('Alert when more retries than this are scheduled: the Face API or the token endpoint fails, or the deployment is wrong.')
@minValue(1)
param scheduledMessagesThreshold int = 100

@description('Alert when more than this share of a publisher\'s sessions, at least 20 in an hour, was not found, in percent. Of fewer sessions, at least three and more than half must be missing.')
@minValue(1)
@maxValue(100)
param alreadyGoneSharePercent int = 20

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('True: traffic to Service Bus, Storage and the Face account stays in a virtual network, and the public access of what is created here is off.')
param privateNetworking bool = false

@description('Name of the cloud, as az cloud list has it. The private zones follow it.')
@allowed([
  'AzureCloud'
  'AzureUSGovernment'
  'AzureChinaCloud'
])
param cloud string = 'AzureCloud'

@description('Address space of the virtual network, a /24 or larger. Only used with private networking.')
@minLength(9)
@maxLength(18)
param virtualNetworkAddressPrefix string = '10.20.0.0/24'

var token = uniqueString(subscription().id, resourceGroup().id, environmentName)
var allTags = union(tags, {
  'azd-env-name': environmentName
  workload: 'liveness-session-revoker'
})
var name = {
  functionApp: names.?functionApp ?? 'func-revoker-${token}'
  appServicePlan: names.?appServicePlan ?? 'plan-revoker-${token}'
  storageAccount: names.?storageAccount ?? 'strevoker${token}'
  serviceBusNamespace: names.?serviceBusNamespace ?? 'sbns-revoker-${token}'
  userAssignedIdentity: names.?userAssignedIdentity ?? 'id-revoker-${token}'
  logAnalyticsWorkspace: names.?logAnalyticsWorkspace ?? 'log-revoker-${token}'
  applicationInsights: names.?applicationInsights ?? 'appi-revoker-${token}'
  faceAccount: names.?faceAccount ?? 'face-revoker-${token}'
  virtualNetwork: names.?virtualNetwork ?? 'vnet-revoker-${token}'
}

// What is brought along, or what will be created in its place: an id either way.
var broughtFace = resourceIdOf('Microsoft.CognitiveServices/accounts', faceAccountId)
var faceId = empty(broughtFace) ? resourceId('Microsoft.CognitiveServices/accounts', name.faceAccount) : broughtFace
var broughtNamespace = resourceIdOf('Microsoft.ServiceBus/namespaces', serviceBusNamespaceId)
var namespaceId = empty(broughtNamespace)
  ? resourceId('Microsoft.ServiceBus/namespaces', name.serviceBusNamespace)
  : broughtNamespace
var broughtIdentity = resourceIdOf('Microsoft.ManagedIdentity/userAssignedIdentities', userAssignedIdentityId)
var identityId = empty(broughtIdentity)
  ? resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', name.userAssignedIdentity)
  : broughtIdentity
var broughtWorkspace = resourceIdOf('Microsoft.OperationalInsights/workspaces', logAnalyticsWorkspaceId)
var subnetType = 'Microsoft.Network/virtualNetworks/subnets'
var broughtSubnet = empty(trim(integrationSubnetId)) == empty(trim(privateEndpointSubnetId))
  ? resourceIdOf(subnetType, integrationSubnetId)
  : fail('integrationSubnetId and privateEndpointSubnetId: give both or none')
var createNetwork = privateNetworking && empty(broughtSubnet)
var private = privateNetworking || !empty(broughtSubnet)

var receiptReaders = guids(receiptReaderPrincipalIds)
var outcomeQueueName = empty(receiptReaders)
  ? ''
  : (queueName == 'session-revoked' ? 'session-outcomes' : '${queueName}-outcomes')
var operators = guids(operatorPrincipalIds)
var recordWriters = guids(recordWriterPrincipalIds)
var workspaceId = empty(broughtWorkspace)
  ? resourceId('Microsoft.OperationalInsights/workspaces', name.logAnalyticsWorkspace)
  : broughtWorkspace

// README.md has a table of who needs which role for what.
var serviceBusDataReceiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
var serviceBusDataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
var monitoringReader = '43d0d8ad-25c7-4714-9337-8ba259a9fe05'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = if (empty(broughtIdentity)) {
  name: name.userAssignedIdentity
  location: location
  tags: allTags
}

resource identityBrought 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = if (!empty(broughtIdentity)) {
  name: split(identityId, '/')[8]
  scope: resourceGroup(split(identityId, '/')[2], split(identityId, '/')[4])
}

// Role assignments exist before the app that needs them starts, and outlive it.
var principalId = empty(broughtIdentity) ? identity!.properties.principalId : identityBrought!.properties.principalId
var clientId = empty(broughtIdentity) ? identity!.properties.clientId : identityBrought!.properties.clientId

module monitoring 'modules/monitoring.bicep' = {
  params: {
    location: location
    tags: allTags
    name: name.applicationInsights
    workspaceName: name.logAnalyticsWorkspace
    workspaceResourceId: broughtWorkspace
    retentionDays: logRetentionDays
    principalId: principalId
    identityId: identityId
    roleAssignments: map(union(operators, guids(auditorPrincipalIds)), id => {
      principalId: id
      roleDefinitionIdOrName: monitoringReader
    })
  }
}

module record 'modules/record.bicep' = if (!empty(recordWriters)) {
  scope: resourceGroup(split(workspaceId, '/')[2], split(workspaceId, '/')[4])
  params: {
    location: monitoring.outputs.workspaceLocation
    tags: allTags
    workspaceName: split(workspaceId, '/')[8]
    token: token
    writerPrincipalIds: recordWriters
  }
}

module network 'modules/network.bicep' = if (createNetwork) {
  params: {
    location: location
    tags: allTags
    name: name.virtualNetwork
    token: token
    addressPrefix: virtualNetworkAddressPrefix
  }
}

module serviceBus 'modules/service-bus.bicep' = if (empty(broughtNamespace)) {
  params: {
    location: location
    tags: allTags
    name: name.serviceBusNamespace
    tier: private ? 'Premium' : serviceBusTier
    capacity: serviceBusCapacity
    publicNetworkAccess: private ? 'Disabled' : 'Enabled'
    workspaceResourceId: monitoring.outputs.workspaceId
  }
}

module queue 'modules/queue.bicep' = {
  scope: resourceGroup(split(namespaceId, '/')[2], split(namespaceId, '/')[4])
  params: {
    namespaceName: split(namespaceId, '/')[8]
    queueName: queueName
    functionPrincipalId: principalId
    identityId: identityId
    roleAssignments: concat(
      map(union(guids(publisherPrincipalIds), operators), id => {
        principalId: id
        roleDefinitionIdOrName: serviceBusDataSender
      }),
      map(operators, id => {
        principalId: id
        roleDefinitionIdOrName: serviceBusDataReceiver
      })
    )
  }
  dependsOn: [
    serviceBus
  ]
}

module receipts 'modules/receipts.bicep' = if (!empty(receiptReaders)) {
  scope: resourceGroup(split(namespaceId, '/')[2], split(namespaceId, '/')[4])
  params: {
    namespaceName: split(namespaceId, '/')[8]
    queueName: outcomeQueueName
    functionPrincipalId: principalId
    identityId: identityId
    roleAssignments: concat(
      map(receiptReaders, id => {
        principalId: id
        roleDefinitionIdOrName: serviceBusDataReceiver
      }),
      map(operators, id => {
        principalId: id
        roleDefinitionIdOrName: serviceBusDataSender
      })
    )
  }
  dependsOn: [
    serviceBus
  ]
}

module storage 'modules/storage.bicep' = {
  params: {
    location: location
    tags: allTags
    name: name.storageAccount
    principalId: principalId
    identityId: identityId
    publicNetworkAccess: private ? 'Disabled' : 'Enabled'
  }
}

module face 'modules/face.bicep' = if (empty(broughtFace)) {
  params: {
    location: location
    tags: allTags
    name: name.faceAccount
    publicNetworkAccess: private ? 'Disabled' : 'Enabled'
  }
}

module faceAccess 'modules/face-access.bicep' = {
  scope: resourceGroup(split(faceId, '/')[2], split(faceId, '/')[4])
  params: {
    accountName: split(faceId, '/')[8]
    token: token
    principalId: principalId
    identityId: identityId
    operatorPrincipalIds: operators
    callsPerSecondQuota: faceCallsPerSecondQuota
    // The maximum counts on-demand instances: always-ready ones may come on top (azure-rest-api-specs
    // pull request 45083).
    instances: maximumInstanceCount > 1 && maximumInstanceCount < 40
      ? maximumInstanceCount + alwaysReadyInstances
      : max(1, alwaysReadyInstances)
    workspaceResourceId: monitoring.outputs.workspaceId
  }
  dependsOn: [
    face
  ]
}

module workbook 'modules/workbook.bicep' = {
  params: {
    location: location
    tags: allTags
    // Deployments that share a workspace need different names.
    name: empty(broughtWorkspace)
      ? guid(resourceId('Microsoft.OperationalInsights/workspaces', name.logAnalyticsWorkspace), 'revocations')
      : guid(broughtWorkspace, token, 'revocations')
    workspaceResourceId: monitoring.outputs.workspaceId
    faceCallsPerSecondQuota: faceAccess.outputs.callsPerSecondQuota
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    faceAccountId: faceId
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (private) {
  params: {
    location: location
    tags: allTags
    cloud: cloud
    token: token
    virtualNetworkResourceId: createNetwork ? resourceId('Microsoft.Network/virtualNetworks', name.virtualNetwork) : ''
    subnetResourceId: createNetwork
      ? network!.outputs.endpointSubnetId
      : resourceIdOf(subnetType, privateEndpointSubnetId)
    privateDnsZoneResourceIds: resourceIdsOf('Microsoft.Network/privateDnsZones', privateDnsZoneIds)
    serviceBusId: empty(broughtNamespace) ? namespaceId : ''
    storageId: resourceId('Microsoft.Storage/storageAccounts', name.storageAccount)
    faceId: empty(broughtFace) ? faceId : ''
  }
  dependsOn: [
    face
    serviceBus
    storage
  ]
}

module functionApp 'modules/function-app.bicep' = {
  params: {
    location: location
    tags: allTags
    name: name.functionApp
    planName: name.appServicePlan
    identityId: identityId
    identityClientId: clientId
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    workspaceResourceId: monitoring.outputs.workspaceId
    cloud: cloud
    storageAccountName: name.storageAccount
    storageBlobEndpoint: storage.outputs.blobEndpoint
    storageTableEndpoint: storage.outputs.tableEndpoint
    packageContainerUrl: storage.outputs.packageContainerUrl
    serviceBusHostName: queue.outputs.hostName
    queueName: queueName
    outcomeQueueName: outcomeQueueName
    faceEndpoint: faceAccess.outputs.endpoint
    faceApiVersion: faceApiVersion
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    faceMaxCallsPerSecond: faceAccess.outputs.maxCallsPerSecond
    settings: settings
    virtualNetworkSubnetResourceId: createNetwork ? network!.outputs.functionSubnetId : broughtSubnet
  }
  dependsOn: [
    privateEndpoints
    receipts
  ]
}

module alerts 'modules/alerts.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    email: alertEmail
    actionGroupIds: resourceIdsOf('Microsoft.Insights/actionGroups', actionGroupIds)
    namespaceId: namespaceId
    queueName: queueName
    workspaceResourceId: monitoring.outputs.workspaceId
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    functionAppId: functionApp.outputs.resourceId
    activeMessagesThreshold: activeMessagesThreshold
    scheduledMessagesThreshold: scheduledMessagesThreshold
    revocationLatencyThresholdSeconds: revocationLatencyThresholdSeconds
    alreadyGoneSharePercent: alreadyGoneSharePercent
  }
}

@description('Name of the function app.')
output AZURE_FUNCTION_APP_NAME string = functionApp.outputs.name

@description('Host name of the Service Bus namespace that publishers send to.')
output SERVICE_BUS_HOST_NAME string = queue.outputs.hostName

@description('Name of the Service Bus namespace.')
output SERVICE_BUS_NAMESPACE string = split(namespaceId, '/')[8]

@description('Queue that publishers send to.')
output SERVICE_BUS_QUEUE string = queueName

@description('Queue of the receipts. Empty: there are none.')
output OUTCOME_QUEUE string = outcomeQueueName

@description('Endpoint of the Face account.')
output FACE_ENDPOINT string = faceAccess.outputs.endpoint

@description('Name of the Face account.')
output FACE_ACCOUNT string = split(faceId, '/')[8]

@description('Calls per second that the Face account says it allows. 0: it does not say.')
output FACE_CALL_RATE_LIMIT string = faceAccess.outputs.callRateLimit

@description('Customer id of the Log Analytics workspace, for az monitor log-analytics query.')
output LOG_WORKSPACE_ID string = monitoring.outputs.customerId

@description('Where \'revoker\' uploads the record to, in the variable of this name. Empty: nowhere.')
output REVOKER_RECORD_URL string = empty(recordWriters) ? '' : record!.outputs.url
