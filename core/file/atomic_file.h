// Files that are there whole or not at all: written under a temporary name in the same folder, synced
// to disk, renamed, folder synced.
#pragma once
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace elastron {

// The temporary name next to a path: "<folder>/.<name>.tmp".
std::string temporary_name(const std::string& path);

// fsync of a file or folder by name; close errors count too. Throws InputError naming the errno.
void sync_file(const std::string& path);
void sync_folder(const std::string& folder);

// Syncs `temporary`, renames it to `path`, syncs the folder. On failure removes the temporary file
// and throws.
void publish_file(const std::string& temporary, const std::string& path);

// Writes the pieces to the temporary name and publishes it.
void write_file_atomically(const std::string& path,
                           std::span<const std::span<const std::byte>> pieces);
void write_text_atomically(const std::string& path, std::string_view text);

}  // namespace elastron
