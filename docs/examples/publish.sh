# For a test by hand: the Azure CLI has no command that sends, but it can call the REST API as you.
# If the call may have failed, run it again without making a new PUBLICATION_ID.
PUBLICATION_ID=$(python3 -c 'import uuid; print(uuid.uuid4())')
az rest --method post \
  --resource https://servicebus.azure.net \
  --url "https://$NAMESPACE.servicebus.windows.net/session-revoked/messages" \
  --headers "Content-Type=application/json" \
    "BrokerProperties={\"MessageId\":\"$PUBLICATION_ID\",\"Label\":\"session-revoked\"}" \
  --body "{\"sessionId\":\"$SESSION_ID\"}"
