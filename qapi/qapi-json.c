/*
 * JSON text to json-c values, and back
 *
 * json-c is either too lenient, or strict and without single quotes. So the text is first rewritten
 * with double quotes, which also rejects what json-c would let pass.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>
#include <json-c/printbuf.h>

#include "qapi/json.h"
#include "qapi/qapi.h"
#include "util/secret-buffer.h"

/* Characters allowed outside strings: no comments, no NaN, no Infinity. */
#define PLAIN_CHARS " \t\r\n{}[]:,+-.0123456789eEtrufalsn"

typedef struct Rewriter {
    char quote;     /* of the current string, or 0 */
    bool escape;    /* after a backslash */
    int zeros;      /* digits of "\u0000" seen so far, or -1 */
    bool huge;      /* in an integer beyond 64 bits */
    size_t n_keys;  /* colons outside strings */
} Rewriter;

/* "e0" after an integer that is too large, and the next character. */
#define REWRITTEN_MAX 3

static void fail_at(const char *text, size_t pos, const char *reason, Error **errp)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < pos; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    error_setg(errp, "JSON parse error at line %zu, column %zu: %s", line, column, reason);
}

/*
 * Rewrite one character of a string to @out. Returns the number of characters written, or -1 with a
 * reason.
 */
static int rewrite_in_string(Rewriter *rw, char c, char *out, const char **reason)
{
    int n = 0;

    if ((unsigned char)c < 0x20) {
        *reason = "control character in a string";
        return -1;
    }
    if (rw->zeros >= 0) {
        rw->zeros = c == '0' ? rw->zeros + 1 : -1;
        if (rw->zeros == 4) {
            *reason = "NUL in a string";
            return -1;
        }
    }
    if (rw->escape) {
        rw->escape = false;
        rw->zeros = c == 'u' ? 0 : -1;
        if (c != '\'') {
            out[n++] = '\\';
        }
        out[n++] = c;
    } else if (c == '\\') {
        rw->escape = true;
    } else if (c == rw->quote) {
        rw->quote = 0;
        out[n++] = '"';
    } else {
        if (c == '"') {
            out[n++] = '\\';
        }
        out[n++] = c;
    }
    return n;
}

/*
 * Whether the number at the start of @text (@len bytes) is an integer beyond 64 bits, which json-c
 * would clamp: it is turned into a floating-point number, so that integer members refuse it.
 */
static bool is_too_large(const char *text, size_t len)
{
    bool negative = text[0] == '-';
    size_t n = negative;
    char digits[24] = "";

    while (n < len && g_ascii_isdigit(text[n])) {
        n++;
    }
    if (n < len && text[n] && strchr(".eE", text[n])) {
        return false;
    }
    if (n >= sizeof(digits)) {
        return true;
    }
    memcpy(digits, text, n);
    errno = 0;
    if (negative) {
        g_ascii_strtoll(digits, NULL, 10);
    } else {
        g_ascii_strtoull(digits, NULL, 10);
    }
    return errno == ERANGE;
}

/* Whether a number starts at @pos, outside strings. */
static bool is_number_start(const char *text, size_t pos)
{
    return (g_ascii_isdigit(text[pos]) || text[pos] == '-') &&
           (!pos || !strchr("0123456789+-.eE", text[pos - 1]));
}

/* Rewrite the character at @pos of @text to @out, which has room for REWRITTEN_MAX. */
static int rewrite_char(Rewriter *rw, const char *text, size_t len, size_t pos, char *out, const char **reason)
{
    char c = text[pos];
    int n = 0;

    if (rw->quote) {
        return rewrite_in_string(rw, c, out, reason);
    }
    if (rw->huge && !g_ascii_isdigit(c)) {
        rw->huge = false;
        out[n++] = 'e';
        out[n++] = '0';
    }
    if (is_number_start(text, pos)) {
        rw->huge = is_too_large(text + pos, len - pos);
    }
    if (c == '"' || c == '\'') {
        rw->quote = c;
        rw->zeros = -1;
        out[n++] = '"';
        return n;
    }
    if (!c || !strchr(PLAIN_CHARS, c)) {
        *reason = "unexpected character";
        return -1;
    }
    rw->n_keys += c == ':';
    out[n++] = c;
    return n;
}

/* Position in @text of position @pos in its rewritten form. */
static size_t position_in_text(const char *text, size_t len, size_t pos)
{
    Rewriter rw = { 0 };
    const char *reason;
    size_t done = 0, i = 0;
    char out[REWRITTEN_MAX];

    while (i < len && done + 1 <= pos) {
        done += rewrite_char(&rw, text, len, i, out, &reason);
        i += done <= pos;
    }
    return i;
}

static int wipe_string(struct json_object *str)
{
    secret_wipe((char *)json_object_get_string(str), json_object_get_string_len(str));
    return 0;
}

static void wipe_on_delete(struct json_object *str, void *userdata)
{
    wipe_string(str);
}

/* Make all strings in @obj wipe themselves. Returns the number of object members in it. */
static size_t json_wipe_strings(struct json_object *obj)
{
    size_t n_keys = 0;

    switch (json_object_get_type(obj)) {
    case json_type_string:
        json_object_set_userdata(obj, NULL, wipe_on_delete);
        break;
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(obj); i++) {
            n_keys += json_wipe_strings(json_object_array_get_idx(obj, i));
        }
        break;
    case json_type_object: {
        json_object_object_foreach(obj, key, val) {
            (void)key;
            n_keys += 1 + json_wipe_strings(val);
        }
        break;
    }
    default:
        break;
    }
    return n_keys;
}

/*
 * Parse @strict, NUL-terminated after @len bytes. *@end is where the parser stopped.
 */
static struct json_object *parse_strict(const char *strict, size_t len, size_t *end,
                                        const char **reason)
{
    struct json_tokener *tok = json_tokener_new_ex(QAPI_MAX_DEPTH);
    struct json_object *obj;

    if (!tok) {
        g_error("out of memory");
    }
    /* Size its buffer now: growing it would leave pieces of strings in freed memory. */
    printbuf_memset(tok->pb, 0, 0, len + 1);
    printbuf_reset(tok->pb);
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    /* Including the NUL, or json-c would wait for more digits of a number. */
    obj = json_tokener_parse_ex(tok, strict, len + 1);
    *end = MIN(json_tokener_get_parse_end(tok), len);
    switch (json_tokener_get_error(tok)) {
    case json_tokener_success:
        *reason = obj ? NULL : "null instead of a value";
        break;
    case json_tokener_continue:
    case json_tokener_error_parse_eof:
        *reason = "unexpected end";
        break;
    default:
        *reason = json_tokener_error_desc(json_tokener_get_error(tok));
        break;
    }
    secret_wipe(tok->pb->buf, tok->pb->size);
    json_tokener_free(tok);
    if (*reason) {
        json_object_put(obj);
        obj = NULL;
    }
    return obj;
}

struct json_object *qapi_parse_json(const char *text, size_t len, Error **errp)
{
    g_autoptr(SecretBuffer) strict = NULL;
    struct json_object *obj;
    const char *reason = NULL;
    Rewriter rw = { 0 };
    size_t n = 0, end;
    char *out;

    if (len > INT_MAX / 2 - 1) {
        error_setg(errp, "JSON text of %zu bytes is too long", len);
        return NULL;
    }
    strict = secret_buffer_new(2 * len + 1);
    out = (char *)strict->data;
    for (size_t i = 0; i < len; i++) {
        int written = rewrite_char(&rw, text, len, i, out + n, &reason);

        if (written < 0) {
            fail_at(text, i, reason, errp);
            return NULL;
        }
        n += written;
    }
    if (rw.huge) {
        memcpy(out + n, "e0", 2);
        n += 2;
    }
    obj = parse_strict(out, n, &end, &reason);
    if (!obj) {
        fail_at(text, position_in_text(text, len, end), reason, errp);
        return NULL;
    }
    if (json_wipe_strings(obj) != rw.n_keys) {
        error_setg(errp, "JSON parse error: an object has a key twice");
        json_object_put(obj);
        return NULL;
    }
    return obj;
}

/* A line break, and the indentation of the next line. */
static void append_newline(GString *out, unsigned depth)
{
    g_string_append_printf(out, "\n%*s", 4 * depth, "");
}

/* Append @text, JSON without spaces, spaced as QEMU prints it. */
static void append_spaced(GString *out, const char *text, bool pretty)
{
    unsigned depth = 0;
    bool in_string = false;

    for (const char *c = text; *c; c++) {
        if (in_string) {
            in_string = *c != '"';
            if (*c == '\\') {
                g_string_append_c(out, *c++);
            }
        } else if (*c == '"') {
            in_string = true;
        } else if (pretty && (*c == '}' || *c == ']')) {
            append_newline(out, --depth);
        }
        g_string_append_c(out, *c);
        if (in_string) {
            continue;
        }
        if (*c == ':' || (*c == ',' && !pretty)) {
            g_string_append_c(out, ' ');
        } else if (pretty && (*c == ',' || *c == '{' || *c == '[')) {
            depth += *c != ',';
            if (c[1] != '}' && c[1] != ']') {
                append_newline(out, depth);
            }
        }
    }
}

char *qapi_print_json(struct json_object *obj, bool pretty)
{
    size_t len;
    const char *text = json_object_to_json_string_length(obj, JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    GString *out = g_string_sized_new(len + len / 4);

    append_spaced(out, text, pretty);
    if (!g_utf8_validate(out->str, out->len, NULL)) {
        char *valid = g_utf8_make_valid(out->str, out->len);

        g_string_free(out, TRUE);
        return valid;
    }
    return g_string_free(out, FALSE);
}

struct json_object *qapi_json_new_string(const char *str, size_t len)
{
    struct json_object *obj = len <= INT_MAX ? json_object_new_string_len(str, len) : NULL;

    if (!obj) {
        g_error("no memory for a string of %zu bytes", len);
    }
    json_object_set_userdata(obj, NULL, wipe_on_delete);
    return obj;
}

void qapi_json_set_string(struct json_object *object, const char *key, const char *value)
{
    json_object_object_add(object, key, qapi_json_new_string(value, strlen(value)));
}
