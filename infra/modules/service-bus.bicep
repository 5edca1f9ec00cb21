// The namespace, where none is brought along.

import { Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of the namespace.')
@minLength(6)
@maxLength(50)
param name string

@description('Tier of the namespace.')
@allowed([
  'Standard'
  'Premium'
])
param tier string

@description('Messaging units, for Premium.')
@allowed([
  1
  2
  4
  8
  16
])
param capacity int

@description('Whether the namespace is reachable from the internet.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicNetworkAccess string

@description('Resource id of the Log Analytics workspace.')
param workspaceResourceId string

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: tier
    tier: tier
    capacity: tier == 'Premium' ? capacity : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
  }
}

// allLogs has the operations on the namespace and, on Premium, who sent and received what when.
#disable-next-line use-recent-api-versions // No stable version of the type knows category groups.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: namespace
  properties: {
    workspaceId: workspaceResourceId
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}
