"""Base of all option classes: one class per block of an option file, one typed field per option.

Each field declares the type, range, unit, default and meaning of an option. Code reads options as attributes. The
option check, ``docs/options.md`` and the JSON Schema for editors are generated from the classes. pydantic reports all
errors of a block at once, with their locations, and exports JSON Schema.
"""
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing import Literal, get_args, get_origin

from .errors import UsageError, near


def option(default, meaning, *, unit=None, phase=None, needed=None, injected=False, on_resume=None, **limits):
    """Declare an option.

    Args:
        default (object): Its default; ``...`` if it must be given.
        meaning (str): One line of documentation.
        unit (str | None): Unit, such as 'pixels'. Default: None.
        phase (str | None): 'train' or 'val': read in training or validation sets only. Default: None.
        needed (str | None): 'train', 'test' or 'always': option files must give it, since BasicSR reads it without a
            default. Default: None.
        injected (bool): BasicSR adds it after reading the file; option files may not. Default: False.
        on_resume (str | None): What happens if it differs from the option of the state that is resumed: 'free' takes
            effect; 'stop' cannot be changed; None needs ``resume: allow_changes: true``. Counts for a block's options
            too. Default: None.
        limits: Limits as in ``pydantic.Field``: ge, gt, le, lt, min_length, max_length, pattern.

    Returns:
        FieldInfo: Value for the attribute of a :class:`Block`.
    """
    extra = dict(unit=unit, phase=phase, needed=needed, injected=injected, on_resume=on_resume)
    return Field(default, description=meaning, json_schema_extra={k: v for k, v in extra.items() if v}, **limits)


class Block(BaseModel):
    """A block of an option file. Subclass it to add options::

        class MyModel(RestorationModel):

            class TrainOptions(RestorationModel.TrainOptions):
                tv_weight: float = option(0., 'Weight of the total variation of the output.', ge=0)

    Instances are read-only. Put checks across options in :meth:`rules`.
    """
    model_config = ConfigDict(extra='forbid', strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode='before')
    @classmethod
    def _whole_floats(cls, opt):
        """``!!float 5e3`` is the whole number 5000 where one is wanted."""
        if not isinstance(opt, dict):
            return opt
        whole = {key for key, field in cls.model_fields.items() if _wants_int(field.annotation)}
        return {key: _whole(value) if key in whole else value for key, value in opt.items()}

    def rules(self):
        """Check options against each other.

        Yields:
            tuple[str, str]: Key of the option to change, and what is wrong and what to do.
        """
        yield from ()

    @classmethod
    def read(cls, opt, place=''):
        """Build from a block of options; keys that belong to other classes are left alone.

        Args:
            opt (dict | Block | None): Options as BasicSR parses them.
            place (str): Block or dataset, for the message. Default: ''.

        Returns:
            Block: The options.

        Raises:
            UsageError: Options are wrong; one line names all of them.
        """
        if isinstance(opt, cls):
            return opt
        open_ended = cls.model_config['extra'] == 'allow'
        found, faults = cls.check({k: v for k, v in (opt or {}).items() if open_ended or k in cls.model_fields})
        if faults:
            lines = '; '.join(f'{": ".join(map(str, keys))}: {text}' if keys else text for keys, text in faults)
            raise UsageError(f'{place}: {lines}' if place else lines)
        return found

    @classmethod
    def check(cls, opt):
        """Check a block.

        Args:
            opt (dict): Its options.

        Returns:
            tuple[Block | None, list[tuple[tuple, str]]]: The options (None where something is wrong), and the mistakes:
                keys that lead to the option, and text.
        """
        try:
            found = cls.model_validate(opt)
        except ValidationError as error:
            faults = {}
            for detail in error.errors(include_url=False):
                keys, owner = _place(cls, detail['loc'])
                faults.setdefault(keys, _sentence(detail, keys, owner, _given(opt, keys)))
            for key, field in cls.model_fields.items():  # rules of inner blocks that are in order themselves
                inner = _variant(inner_blocks(field.annotation), opt.get(key))
                if inner is not None and not any(keys[:1] == (key, ) for keys in faults):
                    faults.update(((key, *keys), text) for keys, text in inner.check(opt[key])[1])
            return None, list(faults.items())
        return found, [(keys if isinstance(keys, tuple) else (keys, ), text) for keys, text in _all_rules(found)]

    def given(self):
        """Options that were given, without defaults.

        Returns:
            dict: Name -> value.
        """
        return {key: getattr(self, key) for key in self.model_fields_set}

    @classmethod
    def extra(cls, key):
        """What :func:`option` noted about an option besides its type: unit, phase, needed, injected, on_resume."""
        return cls.model_fields[key].json_schema_extra or {}

    @classmethod
    def describe(cls, key):
        """What values an option takes.

        Args:
            key (str): Its name.

        Returns:
            str: Words, such as 'a whole number >= 1'.
        """
        schema = cls.model_json_schema(by_alias=False)
        return words(schema['properties'][key], schema.get('$defs', {}))


def _all_rules(block):
    yield from block.rules()
    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, Block):
            for keys, text in _all_rules(value):
                yield (key, *(keys if isinstance(keys, tuple) else (keys, ) if keys else ())), text


def _wants_int(annotation):
    if annotation in (int, float):
        return annotation is int
    inner = [v for v in get_args(annotation)
             if v not in (type(None), str)] if get_origin(annotation) is not Literal else []
    return bool(inner) and all(_wants_int(v) for v in inner)


def _whole(value):
    if isinstance(value, list):
        return [_whole(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def inner_blocks(annotation):
    """Option classes that an annotation names, for an option that is itself a block.

    Args:
        annotation (object): Annotation of a field.

    Returns:
        list[type[Block]]: The classes; several where ``type`` decides.
    """
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, Block) else []
    if get_origin(annotation) in (list, dict):
        return []
    return [cls for v in get_args(annotation) for cls in inner_blocks(v)]


def _variant(classes, value):
    """Of the option classes that an option may have, that of a value."""
    if not isinstance(value, dict) or not classes:
        return None
    if len(classes) == 1:
        return classes[0]
    return next((v for v in classes if value.get('type') in get_args(v.model_fields['type'].annotation)), None)


def _place(cls, loc):
    """Keys that lead to a mistake, as deep as blocks go, and the class that holds the last of them."""
    keys, owner, loc = (), None, list(loc)
    while loc and (loc[0] in cls.model_fields or not keys):
        key = loc.pop(0)
        keys, owner = (*keys, key), cls
        inner = inner_blocks(cls.model_fields[key].annotation) if key in cls.model_fields else []
        if len(inner) > 1 and loc:  # pydantic names the variant by its type
            tag = loc.pop(0)
            inner = [v for v in inner if tag in get_args(v.model_fields['type'].annotation)]
        if not inner or not loc:
            break
        cls = inner[0]
        if loc[0] not in cls.model_fields:
            keys, owner = (*keys, loc[0]), cls
            break
    return keys, owner


def _given(opt, keys):
    for key in keys:
        opt = opt.get(key) if isinstance(opt, dict) else None
    return opt


def _sentence(detail, keys, owner, value):
    """What is wrong with an option and what to do."""
    kind = detail['type']
    known = list(owner.model_fields) if owner else []
    if kind == 'missing':
        return 'is missing'
    if kind == 'extra_forbidden':
        return f'unknown option{near(keys[-1], known)}'
    if kind == 'union_tag_not_found':
        return 'type is missing'
    if kind == 'union_tag_invalid':
        known = [v.strip(" '") for v in detail['ctx']['expected_tags'].split(',')]
        return f"type '{value.get('type')}' is unknown{near(value.get('type'), known)}; use one of {', '.join(known)}"
    expected = owner.describe(keys[-1]) if keys and keys[-1] in known else 'a block of options'
    if value is None:
        return f'is empty; give {expected}, or remove the line'
    return f'{shown(value)} is not {expected}'


def shown(value):
    """A value as a message shows it: as in YAML, and short."""
    text = {True: 'true', False: 'false'}[value] if isinstance(value, bool) else repr(value)
    text = f'{{{", ".join(map(str, value))}}}' if isinstance(value, dict) else text
    return text if len(text) <= 60 else f'{text[:57]}...'


def words(schema, defs=None, plural=False):
    """Say in words what values a JSON Schema allows.

    Args:
        schema (dict): Schema of a value.
        defs (dict | None): Named schemas that it refers to. Default: None.
        plural (bool): For the items of a list. Default: False.

    Returns:
        str: Words, such as 'a number in [0, 1)'.
    """
    if '$ref' in schema or 'oneOf' in schema:
        return 'a block of options'
    if 'anyOf' in schema:
        return ' or '.join(dict.fromkeys(words(v, defs, plural) for v in schema['anyOf']))
    if 'const' in schema or 'enum' in schema:
        values = schema.get('enum') or [schema['const']]
        return ('one of ' if len(values) > 1 else '') + ', '.join(map(str, values))
    kind = schema.get('type')
    if kind == 'null':
        return '~'
    if kind == 'boolean':
        return 'true or false'
    if kind == 'object':
        return 'a block of options'
    if kind == 'array':
        least, most = schema.get('minItems'), schema.get('maxItems')
        count = f'{least} ' if least and least == most else ''
        return f'a list of {count}{words(schema.get("items", {}), defs, plural=True)}'
    name = {'integer': 'integer', 'number': 'number', 'string': 'string'}.get(kind, 'value')
    name = f'{name}s' if plural else f'{"an" if name == "integer" else "a"} {name}'
    return name + _limits(schema)


def _limits(schema):
    low, high = schema.get('minimum'), schema.get('maximum')
    above, below = schema.get('exclusiveMinimum'), schema.get('exclusiveMaximum')
    has_low, has_high = low is not None or above is not None, high is not None or below is not None
    if has_low and has_high:
        left = f'[{low:g}' if low is not None else f'({above:g}'
        right = f'{high:.10g}]' if high is not None else f'{below:g})'
        return f' in {left}, {right}'
    if has_low:
        return f' >= {low:g}' if low is not None else f' > {above:g}'
    if has_high:
        return f' <= {high:g}' if high is not None else f' < {below:g}'
    return ' that is not empty' if schema.get('minLength') else ''
