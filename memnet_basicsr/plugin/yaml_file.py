"""Read option files safely, with the line of every option.

Only plain YAML is accepted: no tags that construct Python objects, no exponential alias expansion, no deep nesting.
BasicSR's own loader constructs arbitrary objects, so it reads a file only after these checks.
"""
import os
import re
import yaml
from collections import OrderedDict
from dataclasses import dataclass, field
from os import path as osp

from ..errors import UsageError, near

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_OPTIONS = 20000  # with every alias written out

_TAG = 'tag:yaml.org,2002:'
_SCALARS = {f'{_TAG}{v}' for v in ('null', 'bool', 'int', 'float', 'str')}
_EXECUTED = tuple(f'{_TAG}python/{v}' for v in ('object', 'name', 'module'))
_Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
_constructor = yaml.constructor.SafeConstructor()


@dataclass
class Fault:
    """A mistake in an option file.

    Args:
        place (tuple): Keys that lead to the option; list items by their index.
        text (str): What is wrong and what to do.
        line (int | None): Line in the file, from 1; None takes the line of ``place``. Default: None.
    """
    place: tuple
    text: str
    line: int | None = None


@dataclass
class OptionFile:
    """Options of a file and where they stand.

    Args:
        path (str): The file.
        options (OrderedDict): The options.
        lines (dict[tuple, int]): Keys that lead to an option -> its line, from 1.
        faults (list[Fault]): Mistakes in the YAML that leave the rest readable, such as duplicate keys.
    """
    path: str
    options: OrderedDict = field(default_factory=OrderedDict)
    lines: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)

    def line(self, place):
        """Line of an option, or of the innermost block around it that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def message(self, fault):
        """One line: ``file:line: block: key: what is wrong, what to do``."""
        line = self.line(fault.place) if fault.line is None else fault.line
        return ': '.join([f'{self.path}:{line}', *map(str, fault.place), fault.text])


def read_option_file(path):
    """Read an option file.

    Args:
        path (str): The file.

    Returns:
        OptionFile: Options, lines and mistakes.

    Raises:
        UsageError: The file is missing, is not plain YAML, is too large or too deep, or is not a mapping.
    """
    text = _read(path)
    try:
        _check_events(path, text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        number = mark.line + 1 if mark else 1
        lines = text.splitlines()
        problem = getattr(error, 'problem', None) or str(error).splitlines()[0]
        if number <= len(lines) and '\t' in lines[number - 1]:
            problem = 'tab character; indent with spaces'
        raise UsageError(f'{path}:{number}: invalid YAML: {problem}') from None
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f'{path}:1: holds no options; write `key: value` lines')
    result = OptionFile(path)
    _Reader(result).block(node, result.options, ())
    return result


def load_yaml(path):
    """Read the options of a file, see :func:`read_option_file`.

    Returns:
        OrderedDict: The options.

    Raises:
        UsageError: The file cannot be read, or the first mistake in it.
    """
    found = read_option_file(path)
    for fault in found.faults:
        raise UsageError(found.message(fault))
    return found.options


def _read(path):
    if not osp.isfile(path):
        folder = osp.dirname(path) or '.'
        others = near(osp.basename(path), os.listdir(folder)) if osp.isdir(folder) else ''
        raise UsageError(f'option file {path} does not exist (current directory: {os.getcwd()}){others}')
    try:
        with open(path, 'rb') as f:
            content = f.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f'option file {path} cannot be read: {error.strerror}') from None
    if len(content) > MAX_BYTES:
        raise UsageError(f'{path}:1: larger than {MAX_BYTES >> 20} MB; this is no option file')
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError as error:
        number = content[:error.start].count(b'\n') + 1
        raise UsageError(f'{path}:{number}: invalid YAML: not UTF-8 text') from None
    return text.removeprefix('\ufeff')


def _check_events(path, text):
    """Refuse deep nesting, and tags that run code wherever they stand, keys included, before nodes are built."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if (getattr(event, 'tag', None) or '').startswith(_EXECUTED):
            raise UsageError(f'{path}:{event.start_mark.line + 1}: the tag {_short(event.tag)} runs code; option files '
                             'hold plain values only')
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise UsageError(f'{path}:{event.start_mark.line + 1}: nested more than {MAX_DEPTH} levels deep; '
                                 'option files need about 5')
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Turn YAML nodes into options."""

    def __init__(self, result):
        self.result = result
        self.count = 0

    def block(self, node, options, place):
        self._count(node, place)
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.value == '<<':
                self._fault((*place, '<<'), 'BasicSR does not merge blocks; write the options out', line)
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _SCALARS:
                self._fault((*place, ), 'key is not a string; write `key: value`', line)
                continue
            key = self._scalar(key_node, place)
            if key in options:
                first = self.result.line((*place, key))
                self._fault((*place, key), f'duplicate key, first on line {first}; remove one', line)
                continue
            self.result.lines[(*place, key)] = line
            options[key] = self._value(value_node, (*place, key))

    def _value(self, node, place):
        self._count(node, place)
        if node.tag.startswith(_TAG + 'python/') or (isinstance(node, yaml.ScalarNode) and node.tag not in _SCALARS
                                                     and not node.tag.startswith(_TAG)):  # yapf: disable
            self._fault(place, f'the tag {_short(node.tag)} is not supported; write a plain value',
                        node.start_mark.line + 1)  # yapf: disable
            return None
        if isinstance(node, yaml.MappingNode):
            options = OrderedDict()
            self.block(node, options, place)
            return options
        if isinstance(node, yaml.SequenceNode):
            values = []
            for i, inner in enumerate(node.value):
                self.result.lines[(*place, i)] = inner.start_mark.line + 1
                values.append(self._value(inner, (*place, i)))
            return values
        return self._scalar(node, place)

    def _scalar(self, node, place):
        try:
            value = _constructor.construct_object(node)
            if not isinstance(value, int) or abs(value) < 2**64:  # Python refuses to print very long numbers
                return value
        except (ValueError, yaml.YAMLError):
            pass
        self._fault(place, f'{node.value[:50]!r} is not a value of {_short(node.tag)}', node.start_mark.line + 1)
        return None

    def _count(self, node, place):
        self.count += 1
        if self.count > MAX_OPTIONS or len(place) > MAX_DEPTH:
            raise UsageError(f'{self.result.path}:{node.start_mark.line + 1}: aliases expand to more than '
                             f'{MAX_OPTIONS} options or {MAX_DEPTH} levels; write the options out')

    def _fault(self, place, text, line):
        self.result.faults.append(Fault(place, text, line))


def _short(tag):
    return f'!!{tag[len(_TAG):]}' if tag.startswith(_TAG) else tag


def number_as_text(value):
    """How to write a number that YAML takes for text, such as ``1e-3``; None if it is not one.

    Args:
        value (object): Value of an option.

    Returns:
        str | None: What to write instead.
    """
    if isinstance(value, str) and re.fullmatch(r'[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?', value):
        return f'!!float {value}' if 'e' in value.lower() or '.' in value else value
    return None
