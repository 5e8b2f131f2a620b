/*
 * keyval: option arguments of the command line to JSON values
 *
 *     driver=luks,key-secret=s0,file.driver=file,file.filename=a,,b.img
 *     {"driver": "luks", "key-secret": "s0", "file": {"driver": "file", "filename": "a,b.img"}}
 *
 * A list of KEY=VALUE, separated by commas; a comma in a value is doubled. Dots in a key lead into objects; parts of a
 * key that are numbers form arrays (a.0=x,a.1=y) without gaps. If a key is given twice the last one counts, so that
 * option arguments can be joined with commas. All values are strings: read them with QAPI_INPUT_KEYVAL. Values may be
 * any bytes but NUL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef QAPI_KEYVAL_H
#define QAPI_KEYVAL_H

#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/error.h"

/*
 * Parse @params. If @implied_key is not NULL, the first element may be only a value, for this key. "help" or "?" alone
 * sets *@help, which the caller must have cleared; if @help is NULL it is an error.
 */
struct json_object *keyval_parse(const char *params, const char *implied_key, bool *help,
                                 Error **errp);

/*
 * Like keyval_parse(), but an argument that begins with '{' is JSON text. *@mode becomes the mode in which to read the
 * result.
 */
struct json_object *keyval_parse_or_json(const char *arg, const char *implied_key, bool *help,
                                         QAPIInputMode *mode, Error **errp);

#endif
