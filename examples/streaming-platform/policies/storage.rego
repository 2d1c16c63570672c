# What every plan of this platform has to respect. `input` is the plan as `terraform show -json` prints it.
package triplane

import rego.v1

# Data stays private: no bucket may be opened to everybody.
deny contains text if {
	some item in input.resource_changes
	item.type == "aws_s3_bucket_acl"
	item.change.after.acl in ["public-read", "public-read-write"]
	text := sprintf("%s: buckets of this platform are private", [item.address])
}

# Whoever changes a network that exists should think twice.
risk := "high" if {
	some item in input.resource_changes
	item.type in ["aws_vpc", "google_compute_network", "azurerm_virtual_network"]
	"update" in item.change.actions
	some name in ["cidr_block", "address_space", "auto_create_subnetworks"]
	item.change.before[name] != item.change.after[name]
}
