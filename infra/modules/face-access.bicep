// What the deployment adds to a Face account, its own or an existing one: the one right that the
// function needs, and the logs. Deployed into the account's resource group.

@description('Name of the Face account in this resource group.')
@minLength(2)
@maxLength(64)
param accountName string

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Principal id of the identity that the function runs as.')
@minLength(36)
@maxLength(36)
param principalId string

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

var accountGroup = resourceGroup().id

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' existing = {
  name: accountName
}

// The built-in role with this right, Cognitive Services Face Recognizer, may also create sessions
// and read their results: faces. This one may delete sessions and nothing else.
resource sessionDeleter 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(accountGroup, token, 'liveness-session-deleter')
  properties: {
    // Role names are unique in a tenant.
    roleName: 'Liveness Session Deleter (${token})'
    description: 'May delete liveness sessions of a Face account. Nothing else: not create, not read.'
    type: 'CustomRole'
    assignableScopes: [
      accountGroup
    ]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.CognitiveServices/accounts/Face/*/sessions/delete'
        ]
        notDataActions: []
      }
    ]
  }
}

resource functionDeletes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, sessionDeleter.name)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', sessionDeleter.name)
  }
}

// The metrics count all calls, live verification's too: what the quota counts. Request logs are left
// out: one line for each live call would cost more than it tells.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'session-revoker-${token}'
  scope: account
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

@description('Resource id of the account.')
output accountId string = account.id

@description('Endpoint of the account.')
output endpoint string = account.properties.endpoint
