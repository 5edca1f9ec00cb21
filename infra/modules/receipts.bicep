// The queue of the receipts, and its role assignments.

import { Guid, RoleAssignment } from 'shared.bicep'

@description('Name of the namespace.')
@minLength(6)
@maxLength(50)
param namespaceName string

@description('Name of the queue.')
@minLength(1)
@maxLength(260)
param queueName string

@description('Principal id of the identity that the function runs as.')
param functionPrincipalId Guid

@description('Resource id of that identity. Role assignments are named after it, as in queue.bicep.')
param identityId string

@description('Further role assignments on the queue.')
param roleAssignments RoleAssignment[]

var serviceBusDataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: namespaceName
}

resource outcomes 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: queueName
  properties: {
    // A receipt that is sent again, after a crash or by the operator's command, has the same id. The
    // window is that of the queue of the revocations, over all deliveries of a message.
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT2H'

    // A reader may be away for a while. But a full queue holds up the revocations, so that what is not
    // read has to go at last.
    defaultMessageTimeToLive: 'P14D'
    maxSizeInMegabytes: 5120
  }
}

resource functionSends 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(outcomes.id, identityId, serviceBusDataSender)
  scope: outcomes
  properties: {
    principalId: functionPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataSender)
  }
}

// No principalType: users, groups and service principals may stand in one list.
resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in roleAssignments: {
    name: guid(outcomes.id, assignment.principalId, assignment.roleDefinitionIdOrName)
    scope: outcomes
    properties: {
      principalId: assignment.principalId
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        assignment.roleDefinitionIdOrName
      )
    }
  }
]
