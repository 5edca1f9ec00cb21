"""Where the commands connect to."""

from revoker.connection import Options, QueueAddress


def test_namespace_option_replaces_what_is_set_in_any_letter_case() -> None:
    """The connection is read without regard to letter case, so the option is put in likewise."""
    environment = {
        "servicebusconnection": "Endpoint=sb://one;SharedAccessKeyName=k;SharedAccessKey=c2Vj",
        "SERVICEBUSCONNECTION__FULLYQUALIFIEDNAMESPACE": "two.servicebus.windows.net",
    }
    options = Options(namespace="three.servicebus.usgovcloudapi.net")
    address = QueueAddress.read(options.applied(environment))
    assert address.where == "three.servicebus.usgovcloudapi.net"
