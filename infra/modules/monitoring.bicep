// Where logs, metrics and traces go, and the workbook that an operator opens first.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Principal id of the identity that writes telemetry.')
@minLength(36)
@maxLength(36)
param principalId string

@description('Calls per second that the Face account allows, for the line in the workbook.')
@minValue(1)
param faceCallsPerSecondQuota int

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
  name: guid(applicationInsights.id, principalId, monitoringMetricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

var workbookTemplate = loadTextContent('../workbook.json')
var workbookOfWorkspace = replace(workbookTemplate, '__WORKSPACE_ID__', workspace.id)

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspace.id, 'revocations')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Session revocations'
    category: 'workbook'
    sourceId: workspace.id
    version: 'Notebook/1.0'
    serializedData: replace(workbookOfWorkspace, '__FACE_CALLS_PER_SECOND_QUOTA__', string(faceCallsPerSecondQuota))
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id

@description('Customer id of the workspace, which queries name it by.')
output customerId string = workspace.properties.customerId

@description('Says where Application Insights takes telemetry. No secret: without a token it opens nothing.')
output connectionString string = applicationInsights.properties.ConnectionString
