"""This function, with the binding's own parsing of times instead of the patched one."""

import azure.functions as func

from delete_session import app as deployed
from delete_session import binding
from delete_session.settings import Settings
from delete_session.telemetry import prepare_worker

prepare_worker()
binding.with_iso_first = lambda original: original
app = func.FunctionApp()
app.register_functions(deployed.create_blueprint(Settings.from_environment()))
