#include "core/json_fields.h"

#include <limits>
#include <utility>

#include "core/error.h"

namespace elastron {

using nlohmann::json;

JsonFields::JsonFields(const json& object, std::string where, std::string todo)
    : object_(object), where_(std::move(where)), todo_(std::move(todo)) {
  if (!object_.is_object()) fail("the line is not a JSON object");
}

void JsonFields::fail(const std::string& what) const { throw InputError(what, where_, todo_); }

bool JsonFields::has(const std::string& name) const {
  const auto it = object_.find(name);
  return it != object_.end() && !it->is_null();
}

const json& JsonFields::field(const std::string& name) const {
  if (!has(name)) fail("field '" + name + "' is missing");
  return *object_.find(name);
}

std::string JsonFields::text(const std::string& name) const {
  const json& value = field(name);
  if (!value.is_string()) fail("field '" + name + "' is not a string");
  return value.get<std::string>();
}

int64_t JsonFields::integer(const std::string& name) const {
  const json& value = field(name);
  const bool fits = !value.is_number_unsigned() ||
                    value.get<uint64_t>() <= uint64_t(std::numeric_limits<int64_t>::max());
  if (!value.is_number_integer() || !fits) fail("field '" + name + "' is not a whole number");
  return value.get<int64_t>();
}

double JsonFields::number(const std::string& name) const {
  const json& value = field(name);
  if (!value.is_number()) fail("field '" + name + "' is not a number");
  return value.get<double>();
}

bool JsonFields::flag(const std::string& name) const {
  const json& value = field(name);
  if (!value.is_boolean()) fail("field '" + name + "' is neither true nor false");
  return value.get<bool>();
}

}  // namespace elastron
