// What the deployment adds to a Face account, created here or brought along from any subscription: the
// one right that the function needs, for operators too, and the logs.

import { Guid } from 'shared.bicep'

@description('Name of the Face account in this resource group.')
@minLength(2)
@maxLength(64)
param accountName string

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Principal id of the identity that the function runs as.')
param principalId Guid

@description('Resource id of that identity. Role assignments are named after it: unlike the principal id it is known before anything is deployed, so that what-if can tell what will change.')
param identityId string

@description('Object ids of operators.')
param operatorPrincipalIds Guid[]

@description('Calls per second that the account allows, if the deployer knows better than the account.')
@minValue(1)
@maxValue(1000)
param callsPerSecondQuota int?

@description('Number of instances that share 80 % of the quota.')
@minValue(1)
@maxValue(2000)
param instances int

@description('Resource id of the Log Analytics workspace.')
param workspaceResourceId string

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
  name: guid(account.id, identityId, sessionDeleter.name)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', sessionDeleter.name)
  }
}

// For the doctor, which asks to delete a session that cannot exist.
resource operatorsDelete 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principalId in operatorPrincipalIds: {
    name: guid(account.id, principalId, sessionDeleter.name)
    scope: account
    properties: {
      principalId: principalId
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', sessionDeleter.name)
    }
  }
]

// The metrics count all calls, live verification's too: what the quota counts. Request logs are left
// out: one line for each live call would be expensive.
#disable-next-line use-recent-api-versions // No stable version of the type knows category groups.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'session-revoker-${token}'
  scope: account
  properties: {
    workspaceId: workspaceResourceId
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

// The quota: from the deployer, else from the account, else the documented default of S0. The account describes its limit as a count of calls in a window of seconds, perhaps with a decimal point,
// which neither int() nor string() takes; in an array it does. Thousandths, as there are no fractions here; `0,.###` prints them as what
// they are a thousandth of: 8000 as 8, 266 as 0.266.
var limit = account.properties.?callRateLimit
var limitCalls = int(split(replace(replace(string([limit.?count ?? 0]), '[', ''), ']', ''), '.')[0])
var limitSeconds = int(split(replace(replace(string([limit.?renewalPeriod ?? 0]), '[', ''), ']', ''), '.')[0])
var limitThousandths = limitSeconds > 0 ? limitCalls * 1000 / limitSeconds : 0
var quotaThousandths = callsPerSecondQuota != null
  ? callsPerSecondQuota! * 1000
  : (limitThousandths > 0 ? limitThousandths : 10000)

@description('Calls per second that the account says it allows. 0: it does not say.')
output callRateLimit string = format('{0:0,.###}', limitThousandths)

@description('Calls per second that the deployment reckons with.')
output callsPerSecondQuota string = format('{0:0,.###}', quotaThousandths)

// The function accepts no maximum rate below 0.1.
@description('Maximum call rate of one instance, in calls per second: its share of 80 % of the quota. Live verification needs the rest.')
output maxCallsPerSecond string = format('{0:0,.###}', max(quotaThousandths * 80 / 100 / instances, 100))

@description('Endpoint of the account.')
output endpoint string = account.properties.endpoint
