/*
 * The commands of qemu-img, one file each
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_IMG_COMMANDS_H
#define TOOLS_IMG_COMMANDS_H

#include "tools/common/command.h"

extern const ToolCommand img_amend;
extern const ToolCommand img_bench;
extern const ToolCommand img_check;
extern const ToolCommand img_compare;
extern const ToolCommand img_convert;
extern const ToolCommand img_create;
extern const ToolCommand img_dd;
extern const ToolCommand img_erase;
extern const ToolCommand img_format;
extern const ToolCommand img_header;
extern const ToolCommand img_info;
extern const ToolCommand img_keyslot;
extern const ToolCommand img_map;
extern const ToolCommand img_measure;
extern const ToolCommand img_resize;

#endif
