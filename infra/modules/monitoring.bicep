// Where logs, metrics and traces go.

import { Guid, Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Principal id of the identity that writes telemetry.')
param principalId Guid

@description('Resource id of that identity. Role assignments are named after it: unlike the principal id it is known before anything is deployed, so that what-if can tell what will change.')
param identityId string

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: 'log-revoker-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
      // Who may read a resource may read its logs, and nothing else.
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-revoker-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // Without this, whoever knows the connection string could write false audit lines.
    DisableLocalAuth: true
    // An address tells which customer's device it was; the function never needs one.
    DisableIpMasking: false
  }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, identityId, monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id

@description('Resource id of Application Insights.')
output applicationInsightsId string = applicationInsights.id

@description('Customer id of the workspace, which queries name it by.')
output customerId string = workspace.properties.customerId

@description('Says where Application Insights takes telemetry. No secret: without a token it opens nothing.')
output connectionString string = applicationInsights.properties.ConnectionString
