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
@description('Resource ids of action groups as they were given. Anything else stops the deployment before it begins.')
func actionGroups(items string[]) string[] =>
  map(
    trimmed(items),
    item =>
      contains(toLower(item), '/providers/microsoft.insights/actiongroups/')
        ? item
        : fail('not the resource id of an action group: "${item}"')
  )
