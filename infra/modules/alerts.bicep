// docs/operations.md says for each alert what it means and what to do, and lists the failures with their
// alerts. Each failure has at least one alert of the first list, which needs nothing from the function.

import { Tags } from 'shared.bicep'

@description('Azure region.')
param location string

@description('Tags of every resource.')
param tags Tags

@description('Unique part of every name.')
@minLength(13)
@maxLength(13)
param token string

@description('Address that alerts are mailed to. Empty: none.')
param email string

@description('Resource ids of existing action groups.')
param actionGroupIds string[]

@description('Resource id of the Service Bus namespace.')
param namespaceId string

@description('Name of the queue.')
@minLength(1)
param queueName string

@description('Resource id of the Log Analytics workspace.')
param workspaceResourceId string

@description('Resource id of Application Insights, which the function\'s lines carry.')
param applicationInsightsId string

@description('Resource id of the function app, which its metrics carry.')
param functionAppId string

@description('Alert when more messages than this wait.')
@minValue(1)
param activeMessagesThreshold int

@description('Alert when more retries than this are scheduled.')
@minValue(1)
param scheduledMessagesThreshold int

@description('Alert when revocations take longer than this, in seconds.')
@minValue(1)
param revocationLatencyThresholdSeconds int

@description('Alert when more than this share of a publisher\'s sessions was not found, in percent.')
@minValue(1)
@maxValue(100)
param alreadyGoneSharePercent int

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

var groupIds = concat(actionGroupIds, empty(email) ? [] : [mail.id])

// What the broker counts. It has no metric for the age of the oldest message: that there was always one
// waiting says the same when the function does not run, and the latency rule below when it is slow.
var queueAlerts = [
  {
    name: 'dead-letters'
    description: 'A revocation was given up: its session may live on until it expires, 48 hours after creation. The dead-letter reason says why.'
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
  {
    name: 'retries-pile-up'
    description: 'Many retries are scheduled: the Face API or the token endpoint fails, or the deployment is wrong.'
    severity: 2
    metric: 'ScheduledMessages'
    aggregation: 'Maximum'
    threshold: scheduledMessagesThreshold
    window: 'PT5M'
    frequency: 'PT1M'
  }
  {
    name: 'retries-never-end'
    description: 'For an hour there was always a retry scheduled, however few: something fails that does not pass.'
    severity: 1
    metric: 'ScheduledMessages'
    aggregation: 'Minimum'
    threshold: 0
    window: 'PT1H'
    frequency: 'PT5M'
  }
  {
    name: 'messages-abandoned'
    description: 'Invocations raised or were cut off: messages could neither be finished, nor scheduled, nor dead-lettered, and were given back to the queue.'
    severity: 2
    metric: 'AbandonMessage'
    aggregation: 'Total'
    threshold: 10
    window: 'PT15M'
    frequency: 'PT5M'
  }
  {
    name: 'broker-server-errors'
    description: 'The broker failed to carry out requests: messages may be delivered late or twice.'
    severity: 2
    metric: 'ServerErrors'
    aggregation: 'Total'
    threshold: 10
    window: 'PT15M'
    frequency: 'PT5M'
  }
  {
    // Each message that the function dead-letters makes one: the host then finds its lock gone.
    name: 'broker-user-errors'
    description: 'The broker refused many requests: locks are lost, or somebody lacks a right on the queue.'
    severity: 2
    metric: 'UserErrors'
    aggregation: 'Total'
    threshold: 100
    window: 'PT15M'
    frequency: 'PT5M'
  }
  {
    name: 'broker-throttles'
    description: 'The broker throttles the namespace: publishing, receiving and settling are delayed.'
    severity: 2
    metric: 'ThrottledRequests'
    aggregation: 'Total'
    threshold: 0
    window: 'PT15M'
    frequency: 'PT5M'
  }
]

resource queueRules 'Microsoft.Insights/metricAlerts@2026-01-01' = [
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
// with a brace. Other apps may write to the same workspace. tests/e2e runs each query over lines that
// the function wrote.
var lines = '''
AppTraces
| where _ResourceId =~ '__APPLICATION_INSIGHTS_ID__' and Message startswith '{'
| extend line = parse_json(Message)
'''

var logAlerts = [
  {
    name: 'circuit-open'
    description: 'The Face API or the token endpoint failed many times in a row; calls are paused and retried. No message is lost.'
    severity: 2
    query: '${lines}| where tostring(line.event) == "circuit_open"'
    window: 'PT5M'
  }
  {
    name: 'deployment-fault'
    description: 'The Face API refuses the function: role, endpoint or API version is wrong. It does not go away; messages are retried until the retry deadline.'
    severity: 1
    query: '${lines}| where tostring(line.event) == "deployment_fault"'
    window: 'PT5M'
  }
  {
    name: 'unknown-code'
    description: 'The Face API answers with an error code that no list knows. The messages are retried. Someone has to decide whether that makes sense.'
    severity: 2
    query: '${lines}| where tostring(line.event) == "unknown_code"'
    window: 'PT5M'
  }
  {
    name: 'already-gone'
    description: 'Many sessions of a publisher were not found: the wrong session type, Face account, API version or ids would look the same, and the sessions would live on.'
    severity: 1
    // A session that was deleted within the hour is found, even if it was published twice. Not found on a
    // later attempt proves nothing: an earlier one may have deleted it. Of few, most must be missing.
    query: '${lines}| where tostring(line.outcome) in ("deleted", "already_gone") | summarize publisher = take_any(tostring(line.publisher)), deleted = countif(tostring(line.outcome) == "deleted"), not_found = countif(toint(line.delivery_count) == 1 and toint(line.attempts) == array_length(line.asked)) by session = tostring(line.session_id) | summarize sessions = count(), missing = countif(deleted == 0 and not_found > 0) by publisher = coalesce(publisher, "unnamed") | extend share = missing * 100.0 / sessions | where (sessions >= 20 and share > ${alreadyGoneSharePercent}) or (missing >= 3 and share > ${max(50, alreadyGoneSharePercent)})'
    window: 'PT1H'
  }
  {
    name: 'slow-revocations'
    description: 'At the 95th percentile, sessions stayed alive longer after their revocation than the objective allows.'
    severity: 2
    query: '${lines}| where tostring(line.outcome) in ("deleted", "already_gone") | summarize seconds = percentile(todouble(line.ms_since_first_enqueued), 95) / 1000 | where seconds > ${revocationLatencyThresholdSeconds}'
    window: 'PT15M'
  }
  {
    // The platform counts the executions of the app (azure-monitor-docs, metrics of Microsoft.Web/sites).
    // The broker's counts will not do: in the workspace they have no dimension, so that they include
    // every queue of the namespace. Metrics and lines arrive minutes late, and not at the same time:
    // the last quarter of an hour is left out.
    name: 'audit-lines-missing'
    description: 'The function ran, but no audit line has arrived: it lacks the right to write telemetry, or telemetry is broken. The other alerts on its lines are silent, too.'
    severity: 1
    query: 'let executions = toscalar(AzureMetrics | where _ResourceId =~ "${functionAppId}" and MetricName in ("AlwaysReadyFunctionExecutionCount", "OnDemandFunctionExecutionCount") and TimeGenerated < ago(15m) | summarize sum(Total)); ${lines}| where tostring(line.event) == "revocation" | summarize audited = count() | where executions > 0 and audited == 0'
    window: 'PT1H'
  }
]

resource logRules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
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
      // A fault and an unknown code are logged once, and last: the person who corrects them closes the alert.
      autoMitigate: !contains(['deployment-fault', 'unknown-code'], alert.name)
      scopes: [
        workspaceResourceId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      // A new workspace has none of the tables yet.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: replace(alert.query, '__APPLICATION_INSIGHTS_ID__', applicationInsightsId)
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: alert.name == 'already-gone'
              ? [
                  {
                    name: 'publisher'
                    operator: 'Include'
                    values: [
                      '*'
                    ]
                  }
                ]
              : []
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
