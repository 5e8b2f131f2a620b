"""Reads the examples of commands and events, and checks them against the schema.

An example is a list of messages, of any number of lines, after -> from the client and after <- from the server:

    -> { "execute": "query-commands" }
    <- { "return": [ { "name": "quit" }, ... ] }

Three dots at the end of an object or array stand for members or elements that are left out.

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import re

from common import SchemaError
from schema import Alternate, Array, Builtin, Enum

DOTS = '...'
_JSON_TYPES = {str: 'string', bool: 'boolean', int: 'number', float: 'number', type(None): 'null', list: 'array',
               dict: 'object'}


def parse_example(text):
    """List of (arrow, message). Raises ValueError."""
    parts = re.split(r'^(->|<-) ', text, flags=re.M)
    if parts[0].strip() or len(parts) < 3:
        raise ValueError("an example is made of messages after '->' or '<-'")
    return [(arrow, _parse_message(message)) for arrow, message in zip(parts[1::2], parts[2::2])]


def _parse_message(text):
    text = re.sub(r',\s*\.\.\.(?=\s*\])', f', "{DOTS}"', text)
    text = re.sub(r',\s*\.\.\.(?=\s*\})', f', "{DOTS}": null', text)
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError('a message is an object')
    return message


def _check_number(type_, value):
    if type_.name == 'number':
        return
    if not isinstance(value, int):
        raise ValueError(f'{value} is not an integer')
    unsigned = type_.kind in ('UINT', 'SIZE')
    bits = int(re.sub(r'\D', '', type_.name) or 64)
    low, high = (0, 1 << bits) if unsigned else (-1 << bits - 1, 1 << bits - 1)
    if not low <= value < high:
        raise ValueError(f'{value} is out of range')


def _check_object(type_, value, path):
    members = {m.name: m for m in type_.members}
    if type_.branches is not None and type_.tag.name in value:
        branch = next((b for b in type_.branches if b.name == value[type_.tag.name]), None)
        members.update({m.name: m for m in branch.type.members} if branch else {})
    for name, member in members.items():
        if name in value:
            if member.unsupported:
                raise ValueError(f"'{path}{name}' is not supported")
            check_value(member.type, value[name], f'{path}{name}.')
        elif not member.optional and DOTS not in value:
            raise ValueError(f"'{path}{name}' is missing")
    for name in value:
        if name not in members and name != DOTS:
            raise ValueError(f"'{path}{name}' is unknown")


def check_value(type_, value, path=''):
    """Raise ValueError if VALUE does not fit TYPE_. PATH is the name of the value, and a dot."""
    json_type = _JSON_TYPES[type(value)]
    if isinstance(type_, Alternate):
        branch = next((b for b in type_.branches if b.type.json_type == json_type), None)
        if not branch:
            raise ValueError(f"'{path[:-1]}' may not be a JSON {json_type}")
        check_value(branch.type, value, path)
    elif type_.json_type not in ('any', json_type):
        raise ValueError(f"'{path[:-1]}' is a JSON {json_type}, not {type_.json_type}")
    elif isinstance(type_, Enum):
        if value not in [v.name for v in type_.values if not v.unsupported]:
            raise ValueError(f"'{path[:-1]}' may not be '{value}'")
    elif isinstance(type_, Array):
        for i, element in enumerate(value):
            if element != DOTS:
                check_value(type_.element, element, f'{path}{i}.')
    elif isinstance(type_, Builtin):
        if json_type == 'number':
            _check_number(type_, value)
    else:
        _check_object(type_, value, path)


def check_event(schema, message):
    """Raise ValueError if an event does not fit the schema."""
    name = message.get('event')
    if name not in schema.events:
        raise ValueError(f"there is no event '{name}'")
    if set(message) - {'event', 'data', 'timestamp'} or set(message.get('timestamp', ())) != {'seconds', 'microseconds'}:
        raise ValueError("an event has members 'event', 'data' and 'timestamp'")
    check_value(schema.events[name].arg, message.get('data', {}))


def check_reply(command, message):
    """Raise ValueError if MESSAGE cannot be the reply to COMMAND."""
    if set(message) == {'error'}:
        if set(message['error']) != {'class', 'desc'}:
            raise ValueError("an error has members 'class' and 'desc'")
    elif set(message) != {'return'}:
        raise ValueError("a reply is 'return' or 'error'")
    elif command.ret:
        check_value(command.ret, message['return'])
    elif message['return'] != {}:
        raise ValueError('the command returns nothing')


def _check_request(schema, message):
    name = message.get('execute', message.get('exec-oob'))
    if name not in schema.commands:
        raise ValueError(f"there is no command '{name}'")
    if set(message) - {'execute', 'exec-oob', 'arguments', 'id'}:
        raise ValueError("a command has members 'execute', 'arguments' and 'id'")
    check_value(schema.commands[name].arg, message.get('arguments', {}))
    return schema.commands[name]


def _check_messages(schema, messages):
    """Names of the commands and events in MESSAGES."""
    names, command = set(), None
    for arrow, message in messages:
        if arrow == '->':
            command = _check_request(schema, message)
            names.add(command.name)
        elif 'event' in message:
            check_event(schema, message)
            names.add(message['event'])
        elif command:
            check_reply(command, message)
        else:
            raise ValueError('a reply without a command')
    return names


def examples(schema):
    """Dictionary of all examples, as lists of messages. Raises SchemaError if one is missing or wrong."""
    found = {}
    for entity in [*schema.commands.values(), *schema.events.values()]:
        if 'Example' not in entity.doc.sections:
            raise SchemaError(entity.doc.where, f"'{entity.name}' has no example")
        try:
            found[entity.name] = parse_example(entity.doc.sections['Example'])
            if entity.name not in _check_messages(schema, found[entity.name]):
                raise ValueError(f"it does not show '{entity.name}'")
        except ValueError as err:
            raise SchemaError(entity.doc.where, f"example of '{entity.name}': {err}") from err
    return found
