// The workbook that an operator opens first.

import { Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Resource id of the Log Analytics workspace.')
param workspaceResourceId string

@description('Name of the workbook, a GUID.')
@minLength(36)
@maxLength(36)
param name string

@description('Calls per second that the Face account allows, for the line in the workbook, as decimal text.')
@minLength(1)
param faceCallsPerSecondQuota string

@description('Resource id of Application Insights.')
param applicationInsightsId string

@description('Resource id of the Face account.')
param faceAccountId string

var values = {
  __WORKSPACE_ID__: workspaceResourceId
  __APPLICATION_INSIGHTS_ID__: applicationInsightsId
  __FACE_ACCOUNT_ID__: faceAccountId
  __FACE_CALLS_PER_SECOND_QUOTA__: faceCallsPerSecondQuota
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Session revocations'
    category: 'workbook'
    sourceId: workspaceResourceId
    version: 'Notebook/1.0'
    serializedData: reduce(
      items(values),
      loadTextContent('../workbook.json'),
      (text, placeholder) => replace(text, placeholder.key, placeholder.value)
    )
  }
}
