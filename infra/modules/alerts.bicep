// What wakes someone up. docs/operations.md says for each alert what it means and what to do.

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Address that alerts are mailed to. Empty: none.')
param email string

@description('Resource ids of existing action groups.')
param actionGroupIds array

@description('Resource id of the Service Bus namespace.')
param namespaceId string

@description('Name of the queue.')
@minLength(1)
param queueName string

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Alert when more messages than this wait.')
@minValue(1)
param activeMessagesThreshold int

@description('Alert when revocations take longer than this, in seconds.')
@minValue(1)
param revocationLatencyThresholdSeconds int

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-revoker-${token}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'revoker'
    emailReceivers: [
      {
        name: 'mail'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var groupIds = concat(actionGroupIds, empty(email) ? [] : [mail!.id])

// What the broker counts. It has no metric for the age of the oldest message: that there was never none
// waiting says the same when the function does not run, and the latency rule below when it is slow.
var queueAlerts = [
  {
    name: 'dead-letters'
    description: 'A revocation was given up: its session may live on until it expires by itself, 48 hours after creation. The dead-letter reason says why.'
    severity: 1
    metric: 'DeadletteredMessages'
    aggregation: 'Maximum'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
  }
  {
    name: 'queue-backs-up'
    description: 'More revocations wait than usual: the function is stopped, too slow, or held back by the Face API.'
    severity: 2
    metric: 'ActiveMessages'
    aggregation: 'Maximum'
    threshold: activeMessagesThreshold
    window: 'PT5M'
    frequency: 'PT1M'
  }
  {
    name: 'queue-never-empties'
    description: 'For half an hour there was always a revocation waiting, however few: the function is stopped, does not start, or is never done.'
    severity: 1
    metric: 'ActiveMessages'
    aggregation: 'Minimum'
    threshold: 0
    window: 'PT30M'
    frequency: 'PT5M'
  }
]

resource queueRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alert in queueAlerts: {
    name: 'revoker-${alert.name}-${token}'
    location: 'global'
    tags: tags
    properties: {
      description: alert.description
      severity: alert.severity
      enabled: true
      autoMitigate: true
      scopes: [
        namespaceId
      ]
      evaluationFrequency: alert.frequency
      windowSize: alert.window
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: alert.metric
            metricNamespace: 'Microsoft.ServiceBus/namespaces'
            metricName: alert.metric
            dimensions: [
              {
                name: 'EntityName'
                operator: 'Include'
                values: [
                  queueName
                ]
              }
            ]
            timeAggregation: alert.aggregation
            operator: 'GreaterThan'
            threshold: alert.threshold
          }
        ]
      }
      actions: [
        for id in groupIds: {
          actionGroupId: id
        }
      ]
    }
  }
]

// What the function logs: one JSON object a line (docs/operations.md). Lines of the host do not begin
// with a brace. The workspace is this app's alone: no filter by a role name, which depends on how the
// platform starts the worker.
var lines = '''
AppTraces
| where Message startswith '{'
| extend line = parse_json(Message)
'''

var logAlerts = [
  {
    name: 'circuit-open'
    description: 'The Face API or the token endpoint failed many times in a row; calls are paused and retried by themselves. No message is lost.'
    severity: 2
    query: '${lines}| where tostring(line.event) == "circuit_open"'
    window: 'PT5M'
  }
  {
    name: 'deployment-fault'
    description: 'The Face API refuses the function: role, endpoint or API version is wrong. It does not mend itself; messages are retried until the retry horizon.'
    severity: 1
    query: '${lines}| where tostring(line.event) == "deployment_fault"'
    window: 'PT5M'
  }
  {
    name: 'function-failures'
    description: 'Invocations raised: a message could neither be finished, nor scheduled, nor dead-lettered, and was given back to the queue.'
    severity: 2
    query: 'AppRequests | where Success == false'
    window: 'PT5M'
  }
  {
    name: 'slow-revocations'
    description: 'At the 95th percentile, sessions stayed alive longer after their revocation than the objective allows.'
    severity: 2
    query: '${lines}| where tostring(line.outcome) in ("deleted", "already_gone") | summarize seconds = percentile(todouble(line.ms_since_first_enqueued), 95) / 1000 | where seconds > __LATENCY__'
    window: 'PT15M'
  }
]

resource logRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in logAlerts: {
    name: 'revoker-${alert.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'Session revoker: ${alert.name}'
      description: alert.description
      severity: alert.severity
      enabled: true
      autoMitigate: true
      scopes: [
        workspaceId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      // A new workspace has none of the tables yet.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: replace(alert.query, '__LATENCY__', string(revocationLatencyThresholdSeconds))
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: groupIds
      }
    }
  }
]
