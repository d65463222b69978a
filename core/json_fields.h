// The fields of a JSON object from a file that is not ours, by name and type.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace elastron {

// A view: the object must outlive it. A null counts as missing. What is missing or mistyped is an
// InputError naming the field and `where` ("file:line"), with `todo`.
class JsonFields {
 public:
  // Throws when `object` is none.
  JsonFields(const nlohmann::json& object, std::string where, std::string todo);

  bool has(const std::string& name) const;
  const nlohmann::json& field(const std::string& name) const;
  std::string text(const std::string& name) const;
  int64_t integer(const std::string& name) const;
  double number(const std::string& name) const;
  bool flag(const std::string& name) const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const nlohmann::json& object_;
  std::string where_, todo_;
};

}  // namespace elastron
