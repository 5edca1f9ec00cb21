using './main.bicep'

// Every value can come from the environment, so that one file serves all deployments:
// `azd env set NAME value` for azd, `export NAME=value` for az. Lists are separated by commas.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param faceApiVersion = readEnvironmentVariable('FACE_API_VERSION', '')
param faceAccountName = readEnvironmentVariable('FACE_ACCOUNT_NAME', '')
param faceResourceGroup = readEnvironmentVariable('FACE_RESOURCE_GROUP', '')
param publisherPrincipalIds = split(readEnvironmentVariable('PUBLISHER_PRINCIPAL_IDS', ''), ',')
param receiptReaderPrincipalIds = split(readEnvironmentVariable('RECEIPT_READER_PRINCIPAL_IDS', ''), ',')
param faceCallsPerSecondQuota = empty(readEnvironmentVariable('FACE_CALLS_PER_SECOND_QUOTA', ''))
  ? null
  : int(readEnvironmentVariable('FACE_CALLS_PER_SECOND_QUOTA', ''))
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
param actionGroupIds = split(readEnvironmentVariable('ACTION_GROUP_IDS', ''), ',')
param serviceBusTier = readEnvironmentVariable('SERVICE_BUS_TIER', 'Standard')
param maximumInstanceCount = int(readEnvironmentVariable('MAXIMUM_INSTANCE_COUNT', '1'))
param alwaysReadyInstances = int(readEnvironmentVariable('ALWAYS_READY_INSTANCES', '1'))
param cloud = readEnvironmentVariable('AZURE_CLOUD', 'AzureCloud')
param privateNetworking = bool(readEnvironmentVariable('PRIVATE_NETWORKING', 'false'))

// Settings of the function that differ from its defaults, e.g. CALL_TIMEOUT_SECONDS: '20'.
param settings = {}
