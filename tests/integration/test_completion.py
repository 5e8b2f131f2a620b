"""Completion in bash, zsh and fish, by these shells themselves.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import os
import re
import shutil

import pytest

from programs import BUILD_DIR, SOURCE_DIR, build_option, run
from terminal import Terminal

PROGRAMS = ['qemu-img', 'qemu-io', 'qemu-nbd', 'qemu-storage-daemon']
# A command line up to the cursor; words that must be offered; words that must not be.
CASES = [
    ('qemu-img cre', {'create'}, {'convert'}),
    ('qemu-img ', {'amend', 'convert', 'format', 'help', 'keyslot', 'resize'}, {'keyslot list'}),
    ('qemu-img keyslot ', {'list', 'add', 'remove', 'change', 'help'}, {'create'}),
    ('qemu-img help keyslot ', {'list', 'add', 'remove', 'change'}, {'create'}),
    ('qemu-img help create ', set(), {'disk.img'}),
    ('qemu-img keyslot add --new', {'--new-key-file', '--new-secret'}, {'--key-file'}),
    ('qemu-img info --', {'--force-share', '--output', '--image-opts', '--help'}, {'--options'}),
    ('qemu-img info --output ', {'human', 'json'}, set()),
    ('qemu-img info --output=', {'--output=human', '--output=json'}, set()),
    ('qemu-img convert -O ', {'luks', 'raw'}, {'file', 'qcow2'}),
    ('qemu-img convert -f l', {'luks'}, {'raw'}),
    ('qemu-img create -f luks -o cipher-alg=', {'cipher-alg=aes-256', 'cipher-alg=serpent-128'}, {'cipher-alg=sm4'}),
    ('qemu-img create -f luks -o ', {'cipher-alg=', 'hash-alg=', 'iter-time=', 'key-secret='}, {'nocow='}),
    ('qemu-img create -o ', {'nocow=', 'preallocation='}, {'cipher-alg='}),
    ('qemu-img create -f luks -o cipher-mode=xts,hash-alg=sha5', {'cipher-mode=xts,hash-alg=sha512'}, set()),
    ('qemu-img create -f luks -o cipher-mode=xts,', {'cipher-mode=xts,hash-alg='}, {'cipher-mode=xts,cipher-mode='}),
    ('qemu-img format -o detached', set(), {'detached-header='}),
    ('qemu-img amend -o state=', {'state=active', 'state=inactive'}, set()),
    ('qemu-img convert -t ', {'none', 'writeback', 'writethrough', 'directsync', 'unsafe'}, set()),
    ('qemu-img erase --scope ', {'key-material', 'header', 'image', 'volume'}, set()),
    ('qemu-img resize --preallocation f', {'falloc', 'full'}, {'off'}),
    ('qemu-img bench -i ', {'threads', 'native', 'io_uring'}, set()),
    ('qemu-img check -r ', {'leaks', 'all'}, set()),
    ('qemu-img info ', {'disk.img', 'disk.luks'}, set()),
    ('qemu-img info disk.l', {'disk.luks'}, {'disk.img'}),
    ('qemu-img info disk.img ', set(), {'disk.luks'}),
    ('qemu-img create --key-file dis', {'disk.img', 'disk.luks'}, set()),
    ('qemu-img dd if=disk.i', {'if=disk.img'}, {'if=disk.luks'}),
    ('qemu-img dd ', {'if=', 'of=', 'bs=', 'count=', 'skip='}, set()),
    ('qemu-img info --object ', {'secret', 'tls-creds-x509', 'throttle-group'}, set()),
    ('qemu-img info --object secret,', {'secret,id=', 'secret,file='}, {'secret,dir='}),
    ('qemu-img info --object secret,id=s,file=disk.l', {'secret,id=s,file=disk.luks'}, set()),
    ('qemu-img info --image-opts driver=luks,', {'driver=luks,key-secret=', 'driver=luks,file.'}, {'driver=luks,offset='}),
    ('qemu-img info --image-opts driver=luks,file.file', {'driver=luks,file.filename='}, set()),
    ('qemu-img info --image-opts driver=raw,file.driver=file,file.filename=disk.l',
     {'driver=raw,file.driver=file,file.filename=disk.luks'}, set()),
    ('qemu-nbd --ca', {'--cache'}, {'--aio'}),
    ('qemu-nbd --cache=write', {'--cache=writeback', '--cache=writethrough'}, {'--cache=none'}),
    ('qemu-nbd --detect-zeroes ', {'off', 'on', 'unmap'}, set()),
    ('qemu-nbd --discard ', {'ignore', 'unmap'}, set()),
    ('qemu-nbd disk.', {'disk.img', 'disk.luks'}, set()),
    ('qemu-io --al', set(), {'--aio'}),
    ('qemu-io -t d', {'directsync'}, set()),
    ('qemu-io --ai', {'--aio'}, set()),
    ('qemu-storage-daemon --blockdev driver=', {'driver=luks', 'driver=raw', 'driver=file'}, {'driver=qcow2'}),
    ('qemu-storage-daemon --blockdev lu', {'luks'}, {'raw'}),
    ('qemu-storage-daemon --blockdev driver=file,node-name=n,fi', {'driver=file,node-name=n,filename='}, set()),
    ('qemu-storage-daemon --blockdev driver=file,read-only=', {'driver=file,read-only=on', 'driver=file,read-only=off'}, set()),
    ('qemu-storage-daemon --export ', {'nbd'}, set()),
    ('qemu-storage-daemon --export nbd,wr', {'nbd,writable=', 'nbd,writethrough='}, set()),
    ('qemu-storage-daemon --chardev s', {'socket', 'stdio'}, set()),
    ('qemu-storage-daemon --nbd-server addr.type=', {'addr.type=unix', 'addr.type=inet'}, set()),
    ('qemu-img create -f luks --object secret,id=s0,file=f -o key-secret=', {'key-secret=s0'}, set()),
    ('qemu-img keyslot add --object secret,id=old,file=f --object secret,id=new,file=f --new-secret ', {'old', 'new'}, set()),
    ('qemu-nbd --object tls-creds-x509,id=tls,dir=/x --tls-creds ', {'tls'}, set()),
    ('qemu-storage-daemon --blockdev file,node-name=f0,filename=f --blockdev luks,file=', {'luks,file=f0'}, set()),
    ('qemu-storage-daemon --blockdev null-co,node-name=n0 --export nbd,id=e,node-name=n', {'nbd,id=e,node-name=n0'}, set()),
    ('qemu-storage-daemon --blockdev null-co,node-name=n0 --blockdev null-co,node-name=n', set(), {'null-co,node-name=n0'}),
    ('qemu-storage-daemon --chardev stdio,id=c0 --monitor ', {'c0', 'chardev='}, set()),
    ('qemu-storage-daemon --object iothread,poll', {'iothread,poll-max-ns='}, set()),
]
# Lines that Tab completes in one way.
COMPLETED = [
    ('qemu-img cre', 'qemu-img create '),
    ('qemu-img keyslot ch', 'qemu-img keyslot change '),
    ('qemu-img convert -O r', 'qemu-img convert -O raw '),
    ('qemu-img create -f luks -o cipher-alg=tw', 'qemu-img create -f luks -o cipher-alg=twofish-'),
    ('qemu-img create -f luks -o hash', 'qemu-img create -f luks -o hash-alg='),
    ('qemu-img info disk.l', 'qemu-img info disk.luks '),
    ('qemu-img info --object secret,id=s,file=disk.l', 'qemu-img info --object secret,id=s,file=disk.luks '),
    ('qemu-nbd --ca', 'qemu-nbd --cache '),
    ('qemu-io --ai', 'qemu-io --aio '),
    ('qemu-storage-daemon --blockdev driver=lu', 'qemu-storage-daemon --blockdev driver=luks '),
]


@pytest.fixture(name='directory')
def fixture_directory(tmp_path):
    """A directory with images, and nothing else."""
    for name in 'disk.img', 'disk.luks':
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture(name='env', scope='module')
def fixture_env(tmp_path_factory):
    """The programs are found by their names."""
    home = tmp_path_factory.mktemp('home')
    return {**os.environ, 'PATH': f'{BUILD_DIR}:{os.environ["PATH"]}', 'HOME': str(home), 'TERM': 'xterm'}


def script(shell, program):
    """The completion script as it gets installed."""
    return BUILD_DIR / 'tools' / {'bash': '{}', 'zsh': '_{}', 'fish': '{}.fish'}[shell].format(program)


def need(shell):
    if not shutil.which(shell):
        pytest.skip(f'{shell} is not installed')
    if build_option('program_prefix'):
        pytest.skip('the programs have a prefix')


def whole_words(line, replies):
    """What the word before the cursor becomes: bash replaces only what follows = or :."""
    word = line.rsplit(' ', 1)[1]
    keep = re.fullmatch(r'(.*[=:])?[^=:]*', word).group(1) or ''
    return {keep + reply for reply in replies}


@pytest.mark.parametrize('line, offered, others', CASES)
def test_bash(line, offered, others, directory, env):
    """The completion function, called as bash does."""
    need('bash')
    # As bash splits them: = and : are words, an empty one follows a space.
    words = [word for part in line.split(' ') for word in ([w for w in re.split('([=:]+)', part) if w] or [''])]
    code = '''. "$1"; COMP_LINE=$2; COMP_POINT=${#2}; shift 2
              COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
              _strongbox_complete "$1"; printf '%s\\n' "${COMPREPLY[@]}"'''
    done = run('bash', '-c', code, 'bash', script('bash', words[0]), line, *words, cwd=directory, env=env)
    assert not done.stderr
    replies = whole_words(line, set(done.stdout.split()))
    assert offered <= replies and not others & replies
    assert all(reply.startswith(line.rsplit(' ', 1)[1]) for reply in replies)


def test_bash_on_a_terminal(directory, env):
    """Readline puts in what the function replies: only a part of the word, as = and : break words."""
    need('bash')
    show = """bind -x '"\\C-p": echo "<$READLINE_LINE>"; READLINE_LINE='"""
    (directory / 'rc').write_text('\n'.join([*(f'. {script("bash", p)}' for p in PROGRAMS), show, "PS1='ready '"]))
    terminal = Terminal('--rcfile', directory / 'rc', '-i', program='/bin/bash', env={**env, 'PWD': str(directory)})
    terminal.answer(b'ready ', b'cd ' + os.fsencode(directory))
    terminal.read_until(b'ready ')
    for line, completed in COMPLETED:
        os.write(terminal.fd, line.encode() + b'\t\x10')
        terminal.read_until(f'<{completed}>'.encode())
    os.write(terminal.fd, b'exit\n')
    terminal.finish()


@pytest.mark.parametrize('line, offered, others', CASES)
def test_fish(line, offered, others, directory, env):
    need('fish')
    program = line.split(' ')[0]
    done = run('fish', '--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script('fish', program), line,
               cwd=directory, env=env)
    replies = {reply.split('\t')[0] for reply in done.stdout.splitlines()}
    assert offered <= replies and not others & replies


def test_zsh(directory, env):
    """A session on a terminal: each line is completed by Tab, and thrown away."""
    need('zsh')
    functions = directory / 'functions'
    functions.mkdir()
    for program in PROGRAMS:
        shutil.copy(script('zsh', program), functions)
    (functions / '.zshrc').write_text(f'''fpath=({functions} $fpath); autoload -U compinit; compinit -u -D
        PS1='ready '; setopt no_beep; LISTMAX=1000; cd {directory}
        show() {{ print -r -- "<$BUFFER>"; BUFFER= }}; zle -N show; bindkey '^P' show
        ''')
    terminal = Terminal('-d', '-i', program='/usr/bin/zsh', env={**env, 'ZDOTDIR': str(functions)})
    terminal.read_until(b'ready ')
    for line, completed in COMPLETED:
        os.write(terminal.fd, line.encode() + b'\t\x10')
        terminal.read_until(f'<{completed}>'.encode())
    for line, listed in [
        ('qemu-img convert -O ', [b'luks', b'raw']),
        ('qemu-storage-daemon --blockdev driver=', [b'driver=luks', b'driver=throttle']),
        ('qemu-img keyslot ', [b'change', b'replace']),
    ]:
        start = terminal.seen
        os.write(terminal.fd, line.encode() + b'\t\x10')
        terminal.read_until(b'<')
        end = terminal.seen
        for word in listed:
            assert word in terminal.output[start:end]
    os.write(terminal.fd, b'exit\n')
    terminal.finish()


def test_every_value_has_a_completion():
    """What help calls a value is either known to completion, or one of those that can be anything."""
    anything = {
        'ADDR', 'BYTE', 'BYTES', 'COMMAND', 'COUNT', 'DEPTH', 'ID', 'LENGTH', 'MS', 'N', 'NAME', 'NUM', 'OFFSET', 'PORT', 'RATE',
        'SECONDS', 'SIZE', 'SNAPSHOT', 'TEXT', 'LABEL', 'DEV',
    }
    source = (SOURCE_DIR / 'tools/common/complete.c').read_text()
    known = set(re.findall(r'^    { "(\w+)", ', source, re.MULTILINE)) | {'FMT', 'OPTS'}
    for path in [*SOURCE_DIR.glob('tools/*/*.c'), SOURCE_DIR / 'tools/common/command.h']:
        for name in re.findall(r'''{ (?:'.'|0|letter), (?:"[\w-]+"|NULL|name), "([^"]+)",''', path.read_text()):
            assert '|' in name or name in known | anything, (path, name)
