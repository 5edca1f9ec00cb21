// The function app on Flex Consumption, and its settings.

import { Guid, Tags, Tuning } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Name of the function app.')
@minLength(2)
@maxLength(60)
param name string

@description('Name of the plan.')
@minLength(1)
@maxLength(60)
param planName string

@description('Resource id of the identity that the function runs as.')
param identityId string

@description('Client id of that identity.')
param identityClientId Guid

@description('Memory of one instance in MB.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int

@description('Maximum number of instances.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int

@description('Instances that run and listen whether there are messages or not.')
@minValue(0)
@maxValue(1000)
param alwaysReadyInstances int

@description('Blob endpoint of the host\'s storage account.')
param storageBlobEndpoint string

@description('Table endpoint of the host\'s storage account.')
param storageTableEndpoint string

@description('Address of the container that packages are deployed to.')
param packageContainerUrl string

@description('Host name of the Service Bus namespace.')
param serviceBusHostName string

@description('Name of the queue.')
@minLength(1)
param queueName string

@description('Endpoint of the Face account.')
param faceEndpoint string

@description('Says where Application Insights takes telemetry.')
param applicationInsightsConnectionString string

@description('Maximum call rate of one instance, in calls per second, as decimal text.')
@minLength(1)
param faceMaxCallsPerSecond string

@description('Name of the queue of the receipts. Empty: none are sent.')
param outcomeQueueName string

@description('Settings of the function that differ from its defaults.')
param settings Tuning

@description('Resource id of the Log Analytics workspace.')
param workspaceResourceId string

@description('Name of the cloud.')
param cloud string

@description('Name of the host\'s storage account.')
param storageAccountName string

@description('Version of the Face API.')
param faceApiVersion string

@description('Subnet that outgoing traffic takes. Empty: none.')
param virtualNetworkSubnetResourceId string

// All of them, and no other: tests/infra holds these names and defaults against the code,
// docs/settings.md and local.settings.sample.json. The runtime and its version stand in functionAppConfig:
// this plan takes no FUNCTIONS_WORKER_RUNTIME and no FUNCTIONS_EXTENSION_VERSION.
var appSettings = union(
  {
    // The host's own storage, by identity. Addresses are right in every cloud. No queues: the host needs
    // them for blob triggers only.
    AzureWebJobsStorage__blobServiceUri: storageBlobEndpoint
    AzureWebJobsStorage__tableServiceUri: storageTableEndpoint
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId

    // Telemetry, by identity.
    APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityClientId}'
    PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
    // The worker's handler hangs on this logger. On the root, the exporter would log each export,
    // and export that line too, for ever (azure-sdk-for-python issue 39104).
    PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME: 'delete_session'

    // The trigger's connection, by identity; the function's own client reads the same.
    ServiceBusConnection__fullyQualifiedNamespace: serviceBusHostName
    ServiceBusConnection__credential: 'managedidentity'
    ServiceBusConnection__clientId: identityClientId

    AZURE_CLIENT_ID: identityClientId
    FACE_ENDPOINT: faceEndpoint
    SESSION_REVOKED_QUEUE: queueName
    OUTCOME_QUEUE: outcomeQueueName

    FACE_TOKEN_SCOPE: ''
    FACE_API_VERSION: faceApiVersion
    FACE_CODES_NOT_RETRYABLE: 'BadArgument,InvalidRequestBody,UnsupportedFeature'
    CALL_TIMEOUT_SECONDS: '30'
    RETRY_INITIAL_DELAY_SECONDS: '2'
    RETRY_MAX_DELAY_SECONDS: '900'
    RETRY_DEADLINE_HOURS: '48'
    FACE_MAX_CALLS_PER_SECOND: faceMaxCallsPerSecond
    FACE_MIN_CALLS_PER_SECOND: ''
    CIRCUIT_BREAKER_BREAK_SECONDS: '30'
  },
  // With addresses alone, the host sometimes fails to make its client when it starts
  // (azure-functions-host issue 11787). From a name it makes addresses of the public cloud.
  cloud == 'AzureCloud'
    ? {
        AzureWebJobsStorage__accountName: storageAccountName
      }
    : {},
  settings
)

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225:A lost zone delays revocations by a scale-out elsewhere, no message is lost; zone redundancy on this plan needs instances that always run.
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_222:The app answers no request: its one trigger is the queue. What stays public is the deployment endpoint, which takes Entra tokens only.
  // checkov:skip=CKV_AZURE_17:As above: there is no request that a client certificate could come with.
  // checkov:skip=CKV_AZURE_213:As above: there is nothing to ask for its health; the queue's alerts tell when the function does not work.
  // checkov:skip=CKV_AZURE_78:The plan refuses the property ftpsState; passwords for FTP are off below.
  // checkov:skip=CKV_AZURE_212:Flex Consumption starts instances as messages come and has no number that always runs.
  name: name
  location: location
  tags: union(tags, {
    'azd-service-name': 'revoker'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(virtualNetworkSubnetResourceId) ? null : virtualNetworkSubnetResourceId
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyInstances == 0
          ? []
          : [
              {
                name: 'function:delete_session'
                instanceCount: alwaysReadyInstances
              }
            ]
      }
    }
    // The plan refuses ftpsState, alwaysOn and others (azure-pipelines-tasks issue 21032): tests/infra.
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      appSettings: [
        for setting in items(appSettings): {
          name: setting.key
          value: setting.value
        }
      ]
    }
  }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noDeploymentPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

// How often the function ran: the alert audit-lines-missing compares it with the audit lines.
#disable-next-line use-recent-api-versions // There is no stable version of the type.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-log-analytics'
  scope: app
  properties: {
    workspaceId: workspaceResourceId
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

@description('Resource id of the function app.')
output resourceId string = app.id

@description('Name of the function app.')
output name string = app.name
