import Foundation

/// A finite number as C++ `std::to_chars` writes it: the shortest digits that read back, in the shorter of plain and
/// scientific notation, plain when both are equally long.
func shortestText(_ value: Double) -> String {
  layOut("\(abs(value))", negative: value.sign == .minus) { String(format: "%.0f", abs(value)) }
}

/// The same for a float: its own shortest digits, fewer than the double's.
func shortestText(_ value: Float) -> String {
  layOut("\(abs(value))", negative: value.sign == .minus) { String(format: "%.0f", Double(abs(value))) }
}

/// Swift's own text has the same digits and another notation.
private func layOut(_ text: String, negative: Bool, whole: () -> String) -> String {
  let parts = text.split(separator: "e")
  let places = parts[0].split(separator: ".", omittingEmptySubsequences: false)
  let fraction = places.count > 1 && places[1] != "0" ? String(places[1]) : ""
  var digits = String(places[0]) + fraction
  // The value is digits * 10^exponent.
  var exponent = (parts.count > 1 ? Int(parts[1]) ?? 0 : 0) - fraction.count
  digits = String(digits.drop { $0 == "0" })
  if digits.isEmpty { return negative ? "-0" : "0" }
  while digits.hasSuffix("0") {
    digits.removeLast()
    exponent += 1
  }
  let count = digits.count
  let power = exponent + count - 1
  let powerDigits = String(abs(power))
  let scientific =
    digits.prefix(1) + (count > 1 ? "." + digits.dropFirst() : "") + (power < 0 ? "e-" : "e+")
    + (powerDigits.count < 2 ? "0" : "") + powerDigits
  let plainCount = exponent >= 0 ? count + exponent : power >= 0 ? count + 1 : 1 - power + count
  let shorter: String
  if plainCount > scientific.count {
    shorter = String(scientific)
  } else if exponent >= 0 {
    // Every digit of the value, not zeros behind the shortest ones.
    shorter = whole()
  } else if power >= 0 {
    shorter = digits.prefix(power + 1) + "." + digits.dropFirst(power + 1)
  } else {
    shorter = "0." + String(repeating: "0", count: -power - 1) + digits
  }
  return (negative ? "-" : "") + shorter
}
