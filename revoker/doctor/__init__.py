"""`revoker doctor`: check every link of the chain, and name the remedy for each fault."""
