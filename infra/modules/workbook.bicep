// The workbook that an operator opens first.

import { Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Calls per second that the Face account allows, for the line in the workbook, as decimal text.')
@minLength(1)
param faceCallsPerSecondQuota string

@description('Resource id of Application Insights.')
param applicationInsightsId string

@description('Resource id of the Face account.')
param faceAccountId string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: 'log-revoker-${token}'
}

var values = {
  __WORKSPACE_ID__: workspace.id
  __APPLICATION_INSIGHTS_ID__: applicationInsightsId
  __FACE_ACCOUNT_ID__: faceAccountId
  __FACE_CALLS_PER_SECOND_QUOTA__: faceCallsPerSecondQuota
}

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
    serializedData: reduce(
      items(values),
      loadTextContent('../workbook.json'),
      (text, placeholder) => replace(text, placeholder.key, placeholder.value)
    )
  }
}
