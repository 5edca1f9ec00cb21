// The queue of the receipts, and who may read it.

import { Guid } from 'shared.bicep'

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Name of the queue.')
@minLength(1)
@maxLength(260)
param queueName string

@description('Principal id of the identity that the function runs as.')
param functionPrincipalId Guid

@description('Resource id of that identity. Role assignments are named after it, as in service-bus.bicep.')
param identityId string

@description('Object ids of who may read receipts.')
param readerPrincipalIds Guid[]

var serviceBusDataReceiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
var serviceBusDataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: 'sbns-revoker-${token}'
}

resource outcomes 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: queueName
  properties: {
    // A receipt that is sent again, after a crash or by the operator's command, has the same id. The
    // window is that of the queue of the revocations, over all deliveries of a message.
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT2H'

    // Whoever reads them may be away for a while. A queue that is full holds up the revocations, so that
    // what nobody reads has to go at last.
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
resource readersReceive 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principalId in readerPrincipalIds: {
    name: guid(outcomes.id, principalId, serviceBusDataReceiver)
    scope: outcomes
    properties: {
      principalId: principalId
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataReceiver)
    }
  }
]
