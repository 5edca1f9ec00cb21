// Everything that Liveness Session Revoker needs in Azure, in one resource group:
//
//   az deployment group create -g <group> -f infra/main.bicep -p infra/main.bicepparam
//   azd up
//
// One identity does all the work; no key exists anywhere. See README.md beside this file.
targetScope = 'resourceGroup'

import { actionGroups, guids, Tags, Tuning } from 'modules/shared.bicep'

@description('Name of this deployment, such as dev or prod. It becomes part of the unique name token and a tag.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Azure region of everything created here. It must offer Flex Consumption with Python 3.13 and, if a Face account is created, liveness detection.')
@minLength(1)
param location string = resourceGroup().location

@description('Tags put on every resource, besides the ones this file sets.')
param tags Tags = {}

@description('Name of the Face account whose sessions are deleted. Empty: create one in this resource group.')
@maxLength(64)
param faceAccountName string = ''

@description('Resource group (of this subscription) of the existing Face account. Empty: this one.')
@maxLength(90)
param faceResourceGroup string = ''

@description('Version of the Face API. It must be one that sees the sessions: see the README.')
@allowed([
  'v1.1-preview.1'
  'v1.2-preview.1'
  'v1.2'
  'v1.3-preview.1'
])
param faceApiVersion string

@description('Calls per second that the Face account allows. Not given: what the account itself says (its callRateLimit), else 10, the default of tier S0. The function calls at most 80 % of it (FACE_MAX_CALLS_PER_SECOND); the workbook draws it as a line.')
@minValue(1)
@maxValue(1000)
param faceCallsPerSecondQuota int?

@description('Settings of the function that differ from its defaults, by name, as text.')
param settings Tuning = {}

@description('Memory of one instance in MB. The Functions host and the Python worker share it.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

// One instance can use 80 % of the Face quota alone. The platform does not always keep to this number
// (azure-functions-host issue 11790), so a second instance may appear: each slows down on a 429.
// Some regions accept no less than 40 (azure-docs pull request 128255); preflight asks the region.
@description('Maximum number of instances. From 2 to 39, the instances share 80 % of the Face quota equally. From 40, the minimum of some regions, they do not: each may use it.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 1

// Whoever scales the app from none to one needs to see that messages wait, and sees little with the
// right to receive: the first eleven messages of the queue, of which more than ten may be retries that
// are scheduled for later. docs/decisions.md has the story.
@description('Instances that run and listen all the time. With 0, revocations wait until the platform notices them, at times for as long as the retries before them do.')
@minValue(0)
@maxValue(1000)
param alwaysReadyInstances int = 1

@description('Tier of the Service Bus namespace. Private networking needs, and therefore selects, Premium.')
@allowed([
  'Standard'
  'Premium'
])
param serviceBusTier string = 'Standard'

@description('Messaging units of a Premium namespace. Not used with Standard.')
@allowed([
  1
  2
  4
  8
  16
])
param serviceBusCapacity int = 1

@description('Object ids of the users, groups or service principals that may publish session-revoked messages.')
@maxLength(50)
param publisherPrincipalIds string[] = []

@description('Object ids of the users, groups or service principals that may read receipts: what became of each revocation. If there are any, a queue is made for receipts, and the function sends them.')
@maxLength(50)
param receiptReaderPrincipalIds string[] = []

@description('Address that alerts are mailed to. Empty: none.')
@maxLength(254)
param alertEmail string = ''

@description('Resource ids of existing action groups that alerts go to, such as the one that pages the engineer on call.')
@maxLength(5)
param actionGroupIds string[] = []

@description('Alert when more messages than this wait in the queue. The default is what 8 calls a second work off in about two minutes.')
@minValue(1)
param activeMessagesThreshold int = 1000

@description('Alert when a revocation took longer than this from its first enqueueing until the session was gone, in seconds, at the 95th percentile of 15 minutes.')
@minValue(1)
param revocationLatencyThresholdSeconds int = 300

@description('Alert when more retries than this are scheduled: the Face API or the token endpoint fails, or the deployment is wrong.')
@minValue(1)
param scheduledMessagesThreshold int = 100

@description('Alert when more than this share of an hour\'s revocations, at least 20, found no session, in percent: the wrong session type, Face account or ids.')
@minValue(1)
@maxValue(100)
param alreadyGoneSharePercent int = 20

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('True: traffic to Service Bus, Storage and the Face account stays in a virtual network, and the public access of what is created here is off.')
param privateNetworking bool = false

@description('Name of the cloud, as az cloud list has it. The private zones follow it.')
@allowed([
  'AzureCloud'
  'AzureUSGovernment'
  'AzureChinaCloud'
])
param cloud string = 'AzureCloud'

@description('Address space of the virtual network, a /24 or larger. Only used with private networking.')
@minLength(9)
@maxLength(18)
param virtualNetworkAddressPrefix string = '10.20.0.0/24'

var token = uniqueString(subscription().id, resourceGroup().id, environmentName)
var allTags = union(tags, {
  'azd-env-name': environmentName
  workload: 'liveness-session-revoker'
})
var queueName = 'session-revoked'
var receiptReaders = guids(receiptReaderPrincipalIds)
var outcomeQueueName = empty(receiptReaders) ? '' : 'session-outcomes'
var createFace = empty(faceAccountName)
var faceName = createFace ? 'face-revoker-${token}' : faceAccountName
var faceGroup = createFace || empty(faceResourceGroup) ? resourceGroup().name : faceResourceGroup

// One identity, made first: role assignments exist before the app that needs them starts, and they
// survive when the app is deleted and made anew.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-revoker-${token}'
  location: location
  tags: allTags
}

module monitoring 'modules/monitoring.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    retentionDays: logRetentionDays
    principalId: identity.properties.principalId
    identityId: identity.id
  }
}

module network 'modules/network.bicep' = if (privateNetworking) {
  params: {
    location: location
    tags: allTags
    token: token
    addressPrefix: virtualNetworkAddressPrefix
  }
}

module serviceBus 'modules/service-bus.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    tier: privateNetworking ? 'Premium' : serviceBusTier
    capacity: serviceBusCapacity
    queueName: queueName
    functionPrincipalId: identity.properties.principalId
    identityId: identity.id
    publisherPrincipalIds: guids(publisherPrincipalIds)
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
    workspaceId: monitoring.outputs.workspaceId
  }
}

module receipts 'modules/receipts.bicep' = if (!empty(receiptReaders)) {
  params: {
    token: token
    queueName: outcomeQueueName
    functionPrincipalId: identity.properties.principalId
    identityId: identity.id
    readerPrincipalIds: receiptReaders
  }
  dependsOn: [
    serviceBus
  ]
}

module storage 'modules/storage.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    principalId: identity.properties.principalId
    identityId: identity.id
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

module face 'modules/face.bicep' = if (createFace) {
  params: {
    location: location
    tags: allTags
    name: faceName
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

// In the resource group of the Face account, which may be another one.
module faceAccess 'modules/face-access.bicep' = {
  scope: resourceGroup(faceGroup)
  params: {
    accountName: faceName
    token: token
    principalId: identity.properties.principalId
    identityId: identity.id
    callsPerSecondQuota: faceCallsPerSecondQuota
    instances: max(maximumInstanceCount < 40 ? maximumInstanceCount : 1, alwaysReadyInstances)
    workspaceId: monitoring.outputs.workspaceId
  }
  dependsOn: [
    face
  ]
}

module workbook 'modules/workbook.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    faceCallsPerSecondQuota: faceAccess.outputs.callsPerSecondQuota
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    faceAccountId: faceAccess.outputs.accountId
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (privateNetworking) {
  params: {
    location: location
    tags: allTags
    cloud: cloud
    token: token
    virtualNetworkId: network!.outputs.virtualNetworkId
    subnetId: network!.outputs.endpointSubnetId
    serviceBusId: serviceBus.outputs.namespaceId
    storageId: storage.outputs.accountId
    faceId: faceAccess.outputs.accountId
  }
}

module functionApp 'modules/function-app.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    identityId: identity.id
    identityClientId: identity.properties.clientId
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    workspaceId: monitoring.outputs.workspaceId
    cloud: cloud
    storageAccountName: storage.outputs.name
    storageBlobEndpoint: storage.outputs.blobEndpoint
    storageTableEndpoint: storage.outputs.tableEndpoint
    packageContainerUrl: storage.outputs.packageContainerUrl
    serviceBusHostName: serviceBus.outputs.hostName
    queueName: queueName
    outcomeQueueName: outcomeQueueName
    faceEndpoint: faceAccess.outputs.endpoint
    faceApiVersion: faceApiVersion
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    faceMaxCallsPerSecond: faceAccess.outputs.maxCallsPerSecond
    settings: settings
    subnetId: privateNetworking ? network!.outputs.functionSubnetId : ''
  }
  dependsOn: [
    privateEndpoints
    receipts
  ]
}

module alerts 'modules/alerts.bicep' = {
  params: {
    location: location
    tags: allTags
    token: token
    email: alertEmail
    actionGroupIds: actionGroups(actionGroupIds)
    namespaceId: serviceBus.outputs.namespaceId
    queueName: queueName
    workspaceId: monitoring.outputs.workspaceId
    applicationInsightsId: monitoring.outputs.applicationInsightsId
    functionAppId: functionApp.outputs.resourceId
    activeMessagesThreshold: activeMessagesThreshold
    scheduledMessagesThreshold: scheduledMessagesThreshold
    revocationLatencyThresholdSeconds: revocationLatencyThresholdSeconds
    alreadyGoneSharePercent: alreadyGoneSharePercent
  }
}

@description('Name of the function app.')
output AZURE_FUNCTION_APP_NAME string = functionApp.outputs.name

@description('Host name of the Service Bus namespace that publishers send to.')
output SERVICE_BUS_HOST_NAME string = serviceBus.outputs.hostName

@description('Name of the Service Bus namespace.')
output SERVICE_BUS_NAMESPACE string = serviceBus.outputs.namespaceName

@description('Queue that publishers send to.')
output SERVICE_BUS_QUEUE string = queueName

@description('Queue of the receipts. Empty: there are none.')
output OUTCOME_QUEUE string = outcomeQueueName

@description('Endpoint of the Face account.')
output FACE_ENDPOINT string = faceAccess.outputs.endpoint

@description('Name of the Face account.')
output FACE_ACCOUNT string = faceName

@description('Calls per second that the Face account says it allows. 0: it does not say.')
output FACE_CALL_RATE_LIMIT string = faceAccess.outputs.callRateLimit

@description('Customer id of the Log Analytics workspace, for az monitor log-analytics query.')
output LOG_WORKSPACE_ID string = monitoring.outputs.customerId
