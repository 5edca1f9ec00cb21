using './main.bicep'

// Every value can come from the environment, so that one file serves all deployments:
// `azd env set NAME value` for azd, `export NAME=value` for az. Lists are separated by commas.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param faceApiVersion = readEnvironmentVariable('FACE_API_VERSION', '')
param tags = json(readEnvironmentVariable('TAGS', '{}'))
param names = json(readEnvironmentVariable('NAMES', '{}'))
param faceAccountId = readEnvironmentVariable('FACE_ACCOUNT_ID', '')
param serviceBusNamespaceId = readEnvironmentVariable('SERVICE_BUS_NAMESPACE_ID', '')
param queueName = readEnvironmentVariable('QUEUE_NAME', 'session-revoked')
param userAssignedIdentityId = readEnvironmentVariable('USER_ASSIGNED_IDENTITY_ID', '')
param logAnalyticsWorkspaceId = readEnvironmentVariable('LOG_ANALYTICS_WORKSPACE_ID', '')
param integrationSubnetId = readEnvironmentVariable('INTEGRATION_SUBNET_ID', '')
param privateEndpointSubnetId = readEnvironmentVariable('PRIVATE_ENDPOINT_SUBNET_ID', '')
param privateDnsZoneIds = split(readEnvironmentVariable('PRIVATE_DNS_ZONE_IDS', ''), ',')
param publisherPrincipalIds = split(readEnvironmentVariable('PUBLISHER_PRINCIPAL_IDS', ''), ',')
param receiptReaderPrincipalIds = split(readEnvironmentVariable('RECEIPT_READER_PRINCIPAL_IDS', ''), ',')
param operatorPrincipalIds = split(readEnvironmentVariable('OPERATOR_PRINCIPAL_IDS', ''), ',')
param auditorPrincipalIds = split(readEnvironmentVariable('AUDITOR_PRINCIPAL_IDS', ''), ',')
param faceCallsPerSecondQuota = empty(readEnvironmentVariable('FACE_CALLS_PER_SECOND_QUOTA', ''))
  ? null
  : int(readEnvironmentVariable('FACE_CALLS_PER_SECOND_QUOTA', ''))
param recordWriterPrincipalIds = split(readEnvironmentVariable('RECORD_WRITER_PRINCIPAL_IDS', ''), ',')
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param actionGroupIds = split(readEnvironmentVariable('ACTION_GROUP_IDS', ''), ',')
param serviceBusTier = readEnvironmentVariable('SERVICE_BUS_TIER', 'Standard')
param maximumInstanceCount = int(readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '1'))
param alwaysReadyInstances = int(readEnvironmentVariable('ALWAYS_READY_INSTANCES', '1'))
param cloud = readEnvironmentVariable('AZURE_CLOUD', 'AzureCloud')
param privateNetworking = bool(readEnvironmentVariable('PRIVATE_NETWORKING', 'false'))

// Settings of the function that differ from its defaults, e.g. CALL_TIMEOUT_SECONDS: '20'.
param settings = {}
