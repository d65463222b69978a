#include "report/inputs/fields.h"

#include <algorithm>
#include <cmath>

#include "report/markup.h"

namespace elastron::report {

namespace {

const Json* member(const Json& object, const std::string& name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

std::optional<double> number_in(const Json& object, const std::string& name) {
  const Json* value = member(object, name);
  if (value == nullptr || !value->is_number()) return {};
  return value->get<double>();
}

std::string text_in(const Json& object, const std::string& name) {
  const Json* value = member(object, name);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

const Json& object_in(const Json& object, const std::string& name) {
  static const Json none = Json::object();
  const Json* value = member(object, name);
  return value != nullptr && value->is_object() ? *value : none;
}

const Json& list_in(const Json& object, const std::string& name) {
  static const Json none = Json::array();
  const Json* value = member(object, name);
  return value != nullptr && value->is_array() ? *value : none;
}

std::vector<std::string> names_in(const Json& object) {
  std::vector<std::string> names;
  for (const auto& [name, value] : object.items()) names.push_back(name);
  std::ranges::sort(names, natural_less);
  return names;
}

std::optional<std::vector<std::vector<double>>> matrix_of(const Json& list) {
  if (!list.is_array() || list.empty()) return {};
  std::vector<std::vector<double>> matrix;
  for (const Json& row : list) {
    if (!row.is_array() || row.empty()) return {};
    std::vector<double> values;
    for (const Json& value : row) {
      if (!value.is_number() && !value.is_null()) return {};
      values.push_back(value.is_null() ? std::nan("") : value.get<double>());
    }
    if (!matrix.empty() && values.size() != matrix.front().size()) return {};
    matrix.push_back(std::move(values));
  }
  return matrix;
}

}  // namespace elastron::report
