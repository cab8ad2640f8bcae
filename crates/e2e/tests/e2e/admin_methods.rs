//! Every method of Java's Admin, called on both brokers. The Java program itself says by reflection which methods it left out: none.

use e2e::clients;

#[test]
fn java_admin_every_method() {
    crate::sweeps::both("admin-methods", include_str!("../../known/admin_methods.txt"), |b| {
        let finished = clients::java("AdminMethods", &[b]);
        assert!(finished.stdout.contains("\nmethods not called: []\n"), "a method of Admin is not called: {}", finished.stdout);
        finished
    });
}
