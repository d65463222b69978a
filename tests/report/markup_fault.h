// What is wrong with markup that the program wrote.
#pragma once
#include <string>
#include <string_view>

namespace elastron::test {

// Tags that do not nest, attributes without quotes, markup in text; "" for nothing. Knows no
// comments and no declarations. Of HTML the elements that have no end, whose names are given with
// blanks around them, and texts of style and script, which are not looked into.
std::string markup_fault(std::string_view text, std::string_view void_elements = "");

}  // namespace elastron::test
