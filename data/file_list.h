// Data files as a configuration names them: files, folders, patterns.
#pragma once
#include <string>
#include <vector>

namespace elastron::data {

// A file's name stands for itself, a folder for the files in it that end in `extension` (".jsonl"),
// hidden ones left out, and a name with *, ? or [...] that is no file for what it matches, as in a
// shell. What a folder or pattern stands for is in the order of the bytes of its names. A file that
// is there more than once, under whatever names, is said in a warning. Throws InputError naming
// `key` and the name where that is nothing.
std::vector<std::string> data_files(const std::vector<std::string>& names,
                                    const std::string& extension, const std::string& key);

}  // namespace elastron::data
