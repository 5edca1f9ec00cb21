"""This function, with the binding's own parsing of times instead of the patched one."""

import azure.functions as func

from delete_session import trigger
from delete_session.settings import Settings

trigger.patch_time_parsing = lambda: None
app = func.FunctionApp()
app.register_functions(trigger.create_blueprint(Settings.from_environment()))
