"""Stand-ins for what the tests of azure-servicebus need of Azure's own tooling.

The folder comes first on the import path of those tests. Everything here has the names that they
import, and only what their queue tests use.
"""
