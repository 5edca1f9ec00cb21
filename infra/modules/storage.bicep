// What the Functions host itself needs: a place for its locks and for the deployed package.
// No message and no session id is stored here.

import { Guid, Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param name string

@description('Principal id of the identity that the function runs as.')
param principalId Guid

@description('Resource id of that identity. Role assignments are named after it: unlike the principal id it is known before anything is deployed, so that what-if can tell what will change.')
param identityId string

@description('Whether the account is reachable from the internet.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicNetworkAccess string

var storageBlobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var storageTableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  // checkov:skip=CKV_AZURE_59:Off with the parameter privateNetworking. Otherwise only Entra tokens open the account: it has no keys and no public blobs.
  // checkov:skip=CKV_AZURE_35:As above: without a virtual network the host has no fixed address to allow.
  // checkov:skip=CKV_AZURE_36:No service of Microsoft needs to reach it: a private deployment comes through its private endpoint.
  // checkov:skip=CKV_AZURE_206:Locks and a package that the next deployment replaces: no need for copies in another region.
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: publicNetworkAccess
    supportsHttpsTrafficOnly: true
    networkAcls: {
      bypass: 'None'
      defaultAction: publicNetworkAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

// The host creates its own containers for locks, so this role cannot be narrowed to one container.
// Owner and not Contributor is what the host asks for.
resource hostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identityId, storageBlobDataOwner)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataOwner)
  }
}

// For the host's diagnostic events. Queues it uses for blob triggers only: no role for them.
resource hostTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identityId, storageTableDataContributor)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageTableDataContributor)
  }
}

@description('Resource id of the account.')
output accountId string = account.id

@description('Blob endpoint of the account.')
output blobEndpoint string = account.properties.primaryEndpoints.blob

@description('Table endpoint of the account.')
output tableEndpoint string = account.properties.primaryEndpoints.table

@description('Address of the container that packages are deployed to.')
output packageContainerUrl string = '${account.properties.primaryEndpoints.blob}${packages.name}'
