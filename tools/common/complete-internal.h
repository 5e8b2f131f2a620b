/*
 * Completion: what its files share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_COMPLETE_INTERNAL_H
#define TOOLS_COMPLETE_INTERNAL_H

#include "qapi/qapi.h"

/* The last word, as far as it is known: @before stays as it is, and @partial is what is to be completed. */
typedef struct Completion {
    const char *before;
    const char *partial;
} Completion;

/* Print @candidate followed by @suffix where it fits. @doc is cut at the end of its first sentence; may be NULL. */
void completion_offer(const Completion *c, const char *candidate, const char *suffix, const char *doc);

/* Print that names of files go here. */
void completion_offer_files(const Completion *c);

/* Offer the values of an enum. */
void completion_offer_enum(const Completion *c, const QAPIType *type);

/*
 * Offer what words before the last one define by @key: "id" of an object or character device, "node-name" of a node.
 * complete.c sets them.
 */
extern char **completion_words;
extern int completion_n_words;
void completion_offer_defined(const Completion *c, const char *key);

/*
 * Complete a list of KEY=VALUE for @type, of which the first may be the value alone of @implied_key (NULL: it may not).
 */
void completion_offer_keyval(const Completion *c, const QAPIType *type, const char *implied_key);

#endif
