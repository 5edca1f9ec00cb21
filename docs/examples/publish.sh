# For a test by hand: the Azure CLI has no command that sends, but calls the REST API as you.
az rest --method post \
  --resource https://servicebus.azure.net \
  --url "https://$NAMESPACE.servicebus.windows.net/session-revoked/messages" \
  --headers "Content-Type=application/json" \
    "BrokerProperties={\"MessageId\":\"$SESSION_ID\",\"Label\":\"session-revoked\"}" \
  --body "{\"sessionId\":\"$SESSION_ID\"}"
