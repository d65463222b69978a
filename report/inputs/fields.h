// What a JSON file of the program has where one looks, or nothing: other versions had other fields.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace elastron::report {

using Json = nlohmann::json;

// Members of an object. Absent, null and of another type are the same.
std::optional<double> number_in(const Json& object, const std::string& name);
std::string text_in(const Json& object, const std::string& name);
const Json& object_in(const Json& object, const std::string& name);  // an empty one
const Json& list_in(const Json& object, const std::string& name);    // an empty one
// Names of an object's members, 9 before 10.
std::vector<std::string> names_in(const Json& object);
// [rows][columns], all as long; nothing where it is something else. Null is not a number.
std::optional<std::vector<std::vector<double>>> matrix_of(const Json& list);

}  // namespace elastron::report
