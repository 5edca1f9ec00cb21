// Types and functions that several files use.

@export()
@description('Tags of a resource: names and texts.')
type Tags = {
  *: string
}

@export()
@description('An object id, client id or principal id.')
@minLength(36)
@maxLength(36)
type Guid = string

@export()
@description('A role assignment, in the shape of Azure Verified Modules. The role is a GUID here.')
type RoleAssignment = {
  principalId: Guid
  roleDefinitionIdOrName: Guid
}

@export()
@description('Names of resources, where the company has rules for them. A name that is not given is made from a unique token.')
@sealed()
type Names = {
  @minLength(2)
  @maxLength(60)
  functionApp: string?

  @minLength(1)
  @maxLength(60)
  appServicePlan: string?

  @minLength(3)
  @maxLength(24)
  storageAccount: string?

  @minLength(6)
  @maxLength(50)
  serviceBusNamespace: string?

  @minLength(3)
  @maxLength(128)
  userAssignedIdentity: string?

  @minLength(4)
  @maxLength(63)
  logAnalyticsWorkspace: string?

  @minLength(1)
  @maxLength(260)
  applicationInsights: string?

  @minLength(2)
  @maxLength(64)
  faceAccount: string?

  @minLength(2)
  @maxLength(64)
  virtualNetwork: string?
}

@export()
@description('Settings of the function that a deployment may change. What each one means is in docs/settings.md; a setting that is not given keeps the default of the code.')
@sealed()
type Tuning = {
  FACE_TOKEN_SCOPE: string?
  FACE_CODES_NOT_RETRYABLE: string?
  CALL_TIMEOUT_SECONDS: string?
  RETRY_INITIAL_DELAY_SECONDS: string?
  RETRY_MAX_DELAY_SECONDS: string?
  RETRY_DEADLINE_HOURS: string?
  FACE_MAX_CALLS_PER_SECOND: string?
  FACE_MIN_CALLS_PER_SECOND: string?
  CIRCUIT_BREAKER_BREAK_SECONDS: string?
}

@export()
@description('The items of a list without the blanks around them; what is empty then is left out.')
func trimmed(items string[]) string[] => filter(map(items, item => trim(item)), item => !empty(item))

@export()
@description('Object ids as they were given, for instance between commas, in lower case. What is no GUID stops the deployment before it begins.')
func guids(items string[]) string[] =>
  map(trimmed(items), item => isGuid(item) ? toLower(item) : fail('not an object id (a GUID): "${item}"'))

func isGuid(text string) bool =>
  join(map(split(text, '-'), part => string(length(part))), '-') == '8-4-4-4-12' && empty(filter(
    range(0, length(text)),
    index => !contains('0123456789abcdef-', toLower(substring(text, index, 1)))
  ))

@export()
@description('A resource id as it was given, or empty. Anything else than the id of that type stops the deployment before it begins.')
func resourceIdOf(type string, id string) string =>
  empty(trim(id)) || isResourceId(type, split(trim(id), '/'))
    ? trim(id)
    : fail('not the resource id of a ${type}: "${trim(id)}"')

func isResourceId(type string, parts string[]) bool =>
  length(parts) != 5 + 2 * length(split(type, '/'))
    ? false
    : toLower('/${parts[1]}/${parts[3]}/${parts[5]}/${parts[6]}/${join(map(range(1, length(split(type, '/')) - 1), index => parts[5 + 2 * index]), '/')}') == toLower('/subscriptions/resourceGroups/providers/${type}')

@export()
@description('Resource ids of that type as they were given, for instance between commas.')
func resourceIdsOf(type string, ids string[]) string[] => map(trimmed(ids), id => resourceIdOf(type, id))
