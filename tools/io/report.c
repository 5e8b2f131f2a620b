/*
 * Parsing numbers in commands, and reporting results
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/io/io.h"
#include "util/aio.h"
#include "util/size.h"

#define BYTES_PER_LINE 16

int64_t io_parse_number(const char *str)
{
    uint64_t value;
    int ret = qemu_strtosz(str, &value);

    if (ret == -EINVAL) {
        printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n", str);
        return -1;
    }
    if (ret < 0 || value > INT64_MAX) {
        printf("Parsing error: argument too large -- %s\n", str);
        return -1;
    }
    return value;
}

int io_parse_pattern(const char *str)
{
    char *end;
    unsigned long value = strtoul(str, &end, 0);

    if (end == str || *end || value > 0xff || str[0] == '-') {
        printf("%s is not a valid pattern byte\n", str);
        return -1;
    }
    return value;
}

char *io_size_str(double bytes)
{
    static const char *const units[] = { " bytes", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB" };
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        bytes /= 1024;
        unit++;
    }
    if (bytes == (int64_t)bytes) {
        return g_strdup_printf("%.0f%s", bytes, units[unit]);
    }
    return g_strdup_printf(unit ? "%.3f%s" : "%f%s", bytes, units[unit]);
}

static char *time_str(int64_t ns, bool csv)
{
    int64_t s = ns / NANOSECONDS_PER_SECOND;
    int hundredths = ns % NANOSECONDS_PER_SECOND / (NANOSECONDS_PER_SECOND / 100);

    if (s < 60 && !csv) {
        return g_strdup_printf("%02d.%02d sec", (int)s, hundredths);
    }
    return g_strdup_printf("%" PRId64 ":%02d:%02d.%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60),
                           hundredths);
}

void io_report(const char *what, int64_t ns, int64_t offset, int64_t asked, int64_t done, bool csv)
{
    g_autofree char *time = time_str(ns, csv);
    double seconds = MAX((double)ns, 1) / NANOSECONDS_PER_SECOND;

    if (csv) {
        printf("%" PRId64 ",%d,%s,%.3f,%.3f\n", done, 1, time, done / seconds, 1 / seconds);
        return;
    }
    g_autofree char *size = io_size_str(done);
    g_autofree char *rate = io_size_str(done / seconds);

    printf("%s %" PRId64 "/%" PRId64 " bytes at offset %" PRId64 "\n", what, done, asked, offset);
    printf("%s, %d ops; %s (%s/sec and %.4f ops/sec)\n", size, 1, time, rate, 1 / seconds);
}

void io_dump(const uint8_t *buf, int64_t offset, int64_t bytes)
{
    for (int64_t line = 0; line < bytes; line += BYTES_PER_LINE) {
        int64_t n = MIN(BYTES_PER_LINE, bytes - line);

        printf("%08" PRIx64 ":  ", offset + line);
        for (int64_t i = 0; i < n; i++) {
            printf("%02x ", buf[line + i]);
        }
        printf(" ");
        for (int64_t i = 0; i < n; i++) {
            putchar(g_ascii_isprint(buf[line + i]) ? buf[line + i] : '.');
        }
        printf("\n");
    }
}
