// A Face account, where none is brought along. Liveness detection is a limited-access feature: Microsoft
// approves its use per subscription.

import { Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of the account and its subdomain, unique in the world.')
@minLength(2)
@maxLength(64)
param name string

@description('Whether the account is reachable from the internet.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicNetworkAccess string

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' = {
  // checkov:skip=CKV_AZURE_134:Off with the parameter privateNetworking. By default the devices and servers that run liveness checks reach the account over the internet; only Entra tokens open it.
  name: name
  location: location
  tags: tags
  kind: 'Face'
  sku: {
    name: 'S0'
  }
  identity: {
    // For customer-managed keys, should they ever be wanted; it has no role anywhere.
    type: 'SystemAssigned'
  }
  properties: {
    // Entra tokens are taken only on a host name of the account's own.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      defaultAction: publicNetworkAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}
