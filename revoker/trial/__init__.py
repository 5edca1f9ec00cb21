"""`revoker trial`: play the whole job once, and write down what the deployment answers."""
