// Where logs, metrics and traces go.

import { Guid, RoleAssignment, Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of Application Insights.')
@minLength(1)
@maxLength(260)
param name string

@description('Name of the workspace, where one is created.')
@minLength(4)
@maxLength(63)
param workspaceName string

@description('Resource id of an existing workspace. Empty: one is created.')
param workspaceResourceId string

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Principal id of the identity that writes telemetry.')
param principalId Guid

@description('Resource id of that identity. Role assignments are named after it: unlike the principal id it is known before anything is deployed, so that what-if can tell what will change.')
param identityId string

@description('Further role assignments on Application Insights.')
param roleAssignments RoleAssignment[]

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = if (empty(workspaceResourceId)) {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
      // The right to read a resource includes its logs, and no others.
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

var workspaceId = empty(workspaceResourceId) ? workspace.id : workspaceResourceId
var parts = split(workspaceId, '/')

resource workspaceBrought 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = if (!empty(workspaceResourceId)) {
  name: parts[8]
  scope: resourceGroup(parts[2], parts[4])
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspaceId
    // Otherwise anyone who knows the connection string could write false audit lines.
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

// No principalType: users, groups and service principals may stand in one list.
resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in roleAssignments: {
    name: guid(applicationInsights.id, assignment.principalId, assignment.roleDefinitionIdOrName)
    scope: applicationInsights
    properties: {
      principalId: assignment.principalId
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        assignment.roleDefinitionIdOrName
      )
    }
  }
]

@description('Resource id of the workspace.')
output workspaceId string = workspaceId

@description('Azure region of the workspace.')
output workspaceLocation string = empty(workspaceResourceId) ? workspace!.location : workspaceBrought!.location

@description('Resource id of Application Insights.')
output applicationInsightsId string = applicationInsights.id

@description('Customer id of the workspace, which queries name it by.')
output customerId string = empty(workspaceResourceId)
  ? workspace!.properties.customerId
  : workspaceBrought!.properties.customerId

@description('Says where Application Insights takes telemetry. No secret: without a token it opens nothing.')
output connectionString string = applicationInsights.properties.ConnectionString
