// The queue of the revocations, in a namespace of any resource group, and its role assignments.

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

@description('Resource id of that identity. Role assignments are named after it: unlike the principal id it is known before anything is deployed, so that what-if can tell what will change.')
param identityId string

@description('Further role assignments on the queue.')
param roleAssignments RoleAssignment[]

var serviceBusDataReceiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
var serviceBusDataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: namespaceName
}

// The numbers belong together with host.json and with the retry settings of the code;
// tests/infra holds them against each other.
resource queue 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = {
  parent: namespace
  name: queueName
  properties: {
    // How long a message stays hidden when the instance that took it is killed. The host renews the
    // lock while the function runs (up to maxAutoLockRenewalDuration), so it need not cover a call.
    lockDuration: 'PT1M'

    // Deliveries count crashes, not attempts: a failed call is retried by a scheduled copy, which
    // starts at one again. A message that kills the process does so twenty times. Not the usual ten:
    // the plan drains instances now and then, which uses up a delivery each time (docs/decisions/retries.md).
    maxDeliveryCount: 20

    // Face deletes a session and its data 48 hours after creation, and the code gives up
    // after RETRY_DEADLINE_HOURS (48), or an hour before a message expires: then a burst still ends
    // with its last errors. What expires unprocessed goes to the dead-letter queue: it is an outage
    // that someone must hear of.
    defaultMessageTimeToLive: 'P2DT1H'
    deadLetteringOnMessageExpiration: true

    // A function that dies between scheduling a retry and completing the original schedules the same
    // copy (same message id) again when it is redelivered. At its longest, a delivery runs as long as
    // the lock is renewed (10 min) and then waits for it to expire (1 min): the window covers ten of
    // the twenty (110 min). A copy that is scheduled once more after that finds the session gone, which
    // is a success. The message id names the publication, so the window also protects a
    // publisher's repeated send, and nothing else; it is as long as needed and no longer. 8 ids a
    // second for two hours are 57,600: little for the broker to remember.
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: 'PT2H'

    // Room for an outage of 48 hours: at 8 messages a second 1.4 million messages of about 1 KB,
    // copies included, are 1.4 GB.
    maxSizeInMegabytes: 5120

    // Revocations have no order among each other, and a message is settled by its lock token through
    // the management link, which works on queues without sessions.
    requiresSession: false

    // A partitioned queue detects duplicates within a partition only, and Premium has none.
    enablePartitioning: false
  }
}

resource functionReceives 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, identityId, serviceBusDataReceiver)
  scope: queue
  properties: {
    principalId: functionPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataReceiver)
  }
}

// To schedule the copy of a message that is retried later.
resource functionSends 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, identityId, serviceBusDataSender)
  scope: queue
  properties: {
    principalId: functionPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataSender)
  }
}

// No principalType: users, groups and service principals may stand in one list.
resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for assignment in roleAssignments: {
    name: guid(queue.id, assignment.principalId, assignment.roleDefinitionIdOrName)
    scope: queue
    properties: {
      principalId: assignment.principalId
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        assignment.roleDefinitionIdOrName
      )
    }
  }
]

@description('Host name of the namespace.')
output hostName string = split(replace(namespace.properties.serviceBusEndpoint, 'https://', ''), ':')[0]
