// Where operators upload their record to: a table of the workspace, and the rule that fills it.

import { Guid, Tags } from 'shared.bicep'

@description('Azure region of the workspace, which the rule must share.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of the workspace.')
@minLength(4)
@maxLength(63)
param workspaceName string

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Object ids of the users and groups that may upload.')
param writerPrincipalIds Guid[]

var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var stream = 'Custom-RevokerRecord'

// `Line` is the line as it stands in the file. `Id` is the same when a line is uploaded again.
var columns = [
  {
    name: 'TimeGenerated'
    type: 'datetime'
  }
  {
    name: 'Id'
    type: 'string'
  }
  {
    name: 'Line'
    type: 'dynamic'
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource table 'Microsoft.OperationalInsights/workspaces/tables@2025-07-01' = {
  parent: workspace
  name: 'RevokerRecord_CL'
  properties: {
    plan: 'Analytics'
    schema: {
      name: 'RevokerRecord_CL'
      columns: columns
    }
  }
}

// A rule of the kind Direct has an endpoint, so that none must be created.
resource rule 'Microsoft.Insights/dataCollectionRules@2024-03-11' = {
  name: 'dcr-revoker-${token}'
  location: location
  tags: tags
  kind: 'Direct'
  properties: {
    streamDeclarations: {
      '${stream}': {
        columns: columns
      }
    }
    destinations: {
      logAnalytics: [
        {
          name: 'workspace'
          workspaceResourceId: workspace.id
        }
      ]
    }
    dataFlows: [
      {
        streams: [
          stream
        ]
        destinations: [
          'workspace'
        ]
        transformKql: 'source'
        outputStream: 'Custom-${table.name}'
      }
    ]
  }
}

// No principalType: users, groups and service principals may stand in one list.
resource writers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in writerPrincipalIds: {
    name: guid(rule.id, id, monitoringMetricsPublisher)
    scope: rule
    properties: {
      principalId: id
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
    }
  }
]

@description('Where lines are uploaded to.')
output url string = '${rule.properties.endpoints.logsIngestion}/dataCollectionRules/${rule.properties.immutableId}/streams/${stream}?api-version=2023-01-01'
