// Files that ship beside the program: the configurations, configs/devices, configs/models.
#pragma once
#include <string>
#include <vector>

namespace elastron::launch {

// The folder `name` of the configurations that ship: beside one of `config_files` or one folder
// above it, or in configs/ of the nearest folder above the program that has it (a build folder
// stands in the sources; an installed program beside share/elastron). Empty where there is none.
std::string shipped_folder(const std::string& name, const std::vector<std::string>& config_files);

// A path that begins with configs/ and is not in the working directory: the file or folder of that
// name that ships, where there is one, so that the names in these pages hold from any folder. Any
// other path as it is.
std::string shipped_path(const std::string& path);

}  // namespace elastron::launch
