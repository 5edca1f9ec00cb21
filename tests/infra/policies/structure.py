"""Policies: the Bicep files as such."""

import re

from tests.infra import bicep
from tests.infra.bicep import Choice, Expression, Loop, Value
from tests.infra.policies.registry import policy
from tests.infra.project import Project


@policy
def two_grammars_read_every_file(project: Project) -> list[str]:
    """Both grammars read every file, and read the same in it."""
    problems = [error for file in project.files.values() for error in file.errors]
    problems += project.parameters.errors
    for path, file in project.files.items():
        try:
            outline = bicep.outline_by_pycep(file.text)
        except Exception as error:
            problems.append(f"{path}: pycep cannot read it: {error}")
            continue
        if not file.errors and outline != file.outline():
            problems.append(f"{path}: the grammars differ: {file.outline()} / {outline}")
    try:
        bicep.outline_by_pycep(project.parameters.as_bicep)
    except Exception as error:
        problems.append(f"main.bicepparam: pycep cannot read it: {error}")
    return problems


@policy
def modules_fit_together(project: Project) -> list[str]:
    """Every module exists and is used; it gets every parameter it needs and none it does not have;
    every output that is used exists; what is given fits the parameter."""
    problems = []
    reached = {"main.bicep"}
    for path, file in project.files.items():
        for symbol, module in file.modules.items():
            where = f"{path}: module {symbol}"
            target = project.files.get(module.path)
            if target is None:
                problems.append(f"{where}: there is no infra/{module.path}")
                continue
            reached.add(module.path)
            given = module.parameters
            problems += [
                f"{where}: {module.path} has no parameter {name}"
                for name in given.keys() - target.parameters.keys()
            ]
            problems += [
                f"{where}: parameter {name} is missing"
                for name, parameter in target.parameters.items()
                if parameter.required and name not in given
            ]
            problems += [
                f"{where}: {name} {problem}"
                for name, value in given.items()
                if name in target.parameters
                for problem in _misfits(file, value, target.parameters[name])
            ]
        for symbol, output in sorted(file.used_outputs):
            target = (
                project.files.get(file.modules[symbol].path) if symbol in file.modules else None
            )
            if target is None or output not in target.outputs:
                problems.append(f"{path}: {symbol}.outputs.{output} does not exist")
    problems += [f"{path}: no file uses it" for path in project.files.keys() - reached]
    return problems


def _misfits(file: bicep.BicepFile, value: Value, wanted: bicep.Parameter) -> list[str]:
    """What is wrong with a value given for a parameter, as far as it can be told here."""
    if isinstance(value, Choice):
        return _misfits(file, value.then, wanted) + _misfits(file, value.otherwise, wanted)
    if isinstance(value, Expression) and value.text in file.parameters:
        given = file.parameters[value.text].type
        builtin = {"string", "int", "bool", "array", "object"}
        if {given, wanted.type} <= builtin and given != wanted.type:
            return [f"is of type {given}, wanted {wanted.type}"]
        return []
    value = file.resolve(value)
    types: dict[type, str] = {
        bool: "bool",
        int: "int",
        str: "string",
        list: "array",
        dict: "object",
        Loop: "array",
    }
    is_of = types.get(type(value))
    if is_of and wanted.type in types.values() and is_of != wanted.type:
        return [f"is of type {is_of}, wanted {wanted.type}"]
    return _out_of_bounds(value, wanted)


def _out_of_bounds(value: Value, wanted: bicep.Parameter) -> list[str]:
    problems = []
    allowed = wanted.decorators.get("allowed")
    if isinstance(allowed, list) and isinstance(value, str | int) and value not in allowed:
        problems.append(f"{value!r} is not one of {allowed}")
    size = len(value) if isinstance(value, str | list) else value
    for least, most in (("minValue", "maxValue"), ("minLength", "maxLength")):
        low, high = wanted.decorators.get(least), wanted.decorators.get(most)
        if isinstance(size, int):
            if isinstance(low, int) and size < low:
                problems.append(f"{value!r} is less than {least} {low}")
            if isinstance(high, int) and size > high:
                problems.append(f"{value!r} is more than {most} {high}")
    return problems


@policy
def parameter_file_fits(project: Project) -> list[str]:
    """main.bicepparam gives what main.bicep needs, and nothing that it does not have."""
    main, file = project.main, project.parameters
    problems = [] if file.using == "./main.bicep" else [f"uses {file.using!r}"]
    problems += [f"no parameter {name}" for name in file.values.keys() - main.parameters.keys()]
    problems += [
        f"parameter {name} is missing"
        for name, parameter in main.parameters.items()
        if parameter.required and name not in file.values
    ]
    # azd keeps outputs as environment variables. One that the parameter file reads would change the
    # next deployment: the name of a Face account that was created would look like an existing one.
    problems += [
        f"output {name} would come back as an input"
        for name in main.outputs.keys() & file.environment
    ]
    return problems


@policy
def nothing_is_unused(project: Project) -> list[str]:
    """Every parameter and variable is used."""
    return [
        f"{path}: {name} is not used"
        for path, file in project.files.items()
        for name in [*file.parameters, *file.variables]
        if name not in file.used
    ]


@policy
def parameters_are_described_and_constrained(project: Project) -> list[str]:
    """Every parameter and output says what it is; numbers everywhere, and texts and lists that a
    user gives, have bounds; defaults keep them."""
    problems = []
    bounds = {"allowed", "minValue", "maxValue", "minLength", "maxLength"}
    for path, file in project.files.items():
        described: dict[str, bicep.Parameter | bicep.Output] = {**file.parameters, **file.outputs}
        problems += [
            f"{path}: {name} has no description"
            for name, one in described.items()
            if not one.decorators.get("description")
        ]
        for name, parameter in file.parameters.items():
            bounded = ("int", "string", "array") if path == "main.bicep" else ("int",)
            if parameter.type in bounded and not bounds & parameter.decorators.keys():
                problems.append(f"{path}: {name} has no bounds")
            if not parameter.required:
                problems += [
                    f"{path}: the default of {name}: {problem}"
                    for problem in _out_of_bounds(parameter.default, parameter)
                ]
    return problems


@policy
def api_versions_are_stable(project: Project) -> list[str]:
    """No preview versions, and one version for each provider's type."""
    # The type has never had a stable version that knows category groups.
    only_preview = {"Microsoft.Insights/diagnosticSettings"}
    problems = []
    versions: dict[str, set[str]] = {}
    for path, file in project.files.items():
        for one in file.resources:
            if not re.fullmatch(r"20\d\d-\d\d-\d\d", one.api_version) and (
                one.type not in only_preview
            ):
                problems.append(f"{path}: {one.type}@{one.api_version} is not stable")
            versions.setdefault("/".join(one.type.split("/")[:2]), set()).add(one.api_version)
    problems += [f"{type_} in {sorted(some)}" for type_, some in versions.items() if len(some) > 1]
    return problems


@policy
def names_come_from_one_token(project: Project) -> list[str]:
    """uniqueString is called once, and the names that must be unique in the world contain it."""
    problems = []
    calls = sum(file.text.count("uniqueString(") for file in project.files.values())
    if calls != 1:
        problems.append(f"uniqueString is called {calls} times")
    for type_ in (
        "Microsoft.Web/sites",
        "Microsoft.ServiceBus/namespaces",
        "Microsoft.Storage/storageAccounts",
    ):
        for file, one in project.resources(type_):
            if "${token}" not in str(one.body.get("name")):
                problems.append(f"{file.path}: the name of {one.symbol} lacks the token")
    if "${token}" not in str(project.main.variables.get("faceName")):
        problems.append("the name of the Face account lacks the token")
    return problems


@policy
def everything_is_tagged(project: Project) -> list[str]:
    """Every resource that can carry tags does."""
    without = {
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.Authorization/roleDefinitions",
        "Microsoft.Insights/diagnosticSettings",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        "Microsoft.ServiceBus/namespaces/queues",
        "Microsoft.Storage/storageAccounts/blobServices",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "Microsoft.Web/sites/basicPublishingCredentialsPolicies",
    }
    return [
        f"{path}: {one.symbol} has no tags"
        for path, file in project.files.items()
        for one in file.resources
        if not one.existing and one.type not in without and "tags" not in one.body
    ]


@policy
def suppressions_have_reasons(project: Project) -> list[str]:
    """Every check that is skipped says why."""
    return [
        f"{path}: {line.strip()}"
        for path, file in project.files.items()
        for line in file.text.splitlines()
        if re.search(r"checkov:skip|#disable", line)
        and not re.search(r"// checkov:skip=\w+:.{20,}", line)
    ]
