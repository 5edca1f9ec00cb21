"""The base classes and the credential of the tests."""

from azure.core.credentials import AzureNamedKeyCredential


class AzureMgmtRecordedTestCase:
    """The base class of most tests; it records nothing here."""


class AzureRecordedTestCase:
    """The base class of the others."""

    @staticmethod
    def await_prepared_test[F](function: F) -> F:
        """Return the test as it is: it needs no preparation."""
        return function


def get_credential(**_: object) -> AzureNamedKeyCredential:
    """Return the broker's default shared access key, in place of a Microsoft Entra token."""
    return AzureNamedKeyCredential("k", "c2Vj")
